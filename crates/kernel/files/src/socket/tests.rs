//! Sockets as programs see them, without a kernel.

use super::*;
use crate::eventfd;
use crate::testing::{Bell, World, rings};
use alloc::vec;
use core::net::SocketAddr;

const ME: Credentials = Credentials { pid: 10, uid: 0, gid: 0 };
const OTHER: Credentials = Credentials { pid: 20, uid: 5, gid: 6 };

struct Net(Arc<Network<Bell>>);

type File = Arc<OpenFile<Bell>>;

impl Net {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn open(&self, domain: Domain, kind: Kind) -> File {
        open(&self.0, domain, kind, 0, OpenFlags::empty(), ME).expect("there are such")
    }

    fn pair(&self, kind: Kind) -> Pair<Bell> {
        pair(&self.0, Domain::Unix, kind, OpenFlags::empty(), ME).expect("there are such")
    }

    /// A listener with this name.
    fn listener(&self, domain: Domain, name: &Target, backlog: i32) -> File {
        let file = self.open(domain, Kind::Stream);
        assert_eq!(of(&file).bind(name.clone()), Ok(()));
        assert_eq!(of(&file).listen(backlog, ME), Ok(()));
        file
    }
}

fn of(file: &File) -> &Arc<Socket<Bell>> {
    file.socket().expect("a socket")
}

fn hidden(name: &str) -> Target {
    Target { name: Name::Abstract(name.into()), inode: None }
}

fn inet(address: &str) -> Target {
    Target { name: Name::Inet(address.parse().expect("an address")), inode: None }
}

fn connect(file: &File, target: &Target) -> Result<(), Errno> {
    of(file).connect(Some(target), OTHER, false)
}

fn text(file: &File) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 100];
    let len = file.read(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

fn name(file: &File) -> SocketAddr {
    let name = Name::parse(&of(file).name(), of(file).domain()).expect("valid");
    name.and_then(|name| name.inet()).expect("an address")
}

#[test]
fn sockets_of_a_pair_talk_both_ways_until_one_is_gone() {
    let net = Net::new();
    let (one, two) = net.pair(Kind::Stream);
    let mut buffer = [0; 8];
    assert_eq!(one.poll(), Ready::OUT | Ready::WRNORM);
    assert_eq!(one.write(b"ping"), Ok(4));
    assert_eq!(one.read(&mut buffer), Err(Errno::AGAIN), "not its own words");
    assert_eq!(two.read(&mut buffer), Ok(4));
    assert_eq!(two.write(b"pong"), Ok(4));
    assert_eq!(one.available(), Some(4));
    let before = rings(&one);
    drop(two);
    assert_eq!(rings(&one), before + 1);
    assert!(one.poll().contains(Ready::IN | Ready::HUP | Ready::RDHUP));
    assert_eq!(one.read(&mut buffer), Ok(4));
    assert_eq!(one.read(&mut buffer), Ok(0));
    assert_eq!(one.write(b"x"), Err(Errno::PIPE));
    assert_eq!(one.metadata().file_type(), Some(FileType::Socket));
}

#[test]
fn who_closes_without_having_read_all_resets_the_connection() {
    let net = Net::new();
    let (one, two) = net.pair(Kind::Stream);
    assert_eq!(one.write(b"unread"), Ok(6));
    drop(two);
    assert!(one.poll().contains(Ready::ERR));
    assert_eq!(text(&one), Err(Errno::CONNRESET));
    assert_eq!(text(&one), Ok(vec![]), "told once");
}

#[test]
fn a_writer_without_room_is_woken_when_there_is_some() {
    let net = Net::new();
    let (one, two) = net.pair(Kind::Stream);
    let much = vec![7; inbox::CAPACITY + 1];
    assert_eq!(one.write(&much), Ok(inbox::CAPACITY));
    assert_eq!(one.write(b"x"), Err(Errno::AGAIN));
    assert_eq!(one.poll() & Ready::OUT, Ready::empty());
    let before = rings(&one);
    assert_eq!(two.read(&mut [0; 100]), Ok(100));
    assert_eq!(rings(&one), before, "too little room");
    assert_eq!(two.read(&mut [0; 5000]), Ok(5000));
    assert_eq!(rings(&one), before + 1);
    assert!(one.poll().contains(Ready::OUT));
}

#[test]
fn connections_come_in_the_order_they_were_made_in_and_know_each_other() {
    let net = Net::new();
    let name = hidden("service");
    let listener = net.listener(Domain::Unix, &name, 5);
    assert_eq!(of(&listener).accept(OpenFlags::empty()).err(), Some(Errno::AGAIN));
    let clients: Vec<File> = (0..3).map(|_| net.open(Domain::Unix, Kind::Stream)).collect();
    let before = rings(&listener);
    for (n, client) in clients.iter().enumerate() {
        assert!(client.poll().contains(Ready::HUP), "not connected");
        assert_eq!(connect(client, &name), Ok(()));
        assert_eq!(client.write(&[n as u8]), Ok(1), "before it is accepted");
        assert_eq!(connect(client, &name), Err(Errno::ISCONN));
    }
    assert_eq!(rings(&listener), before + 1, "ready once");
    for n in 0..3 {
        let server = of(&listener).accept(OpenFlags::empty()).expect("there is one");
        assert_eq!(text(&server), Ok(vec![n]));
        assert_eq!(of(&server).name(), b"\x01\0\0service");
        assert_eq!(of(&server).peer_name(), Ok(b"\x01\0".to_vec()));
        let credentials: Vec<u8> = [20_u32, 5, 6].iter().flat_map(|id| id.to_le_bytes()).collect();
        assert_eq!(of(&server).option(1, 17), Ok(credentials), "SO_PEERCRED");
    }
    assert_eq!(of(&clients[0]).peer_name(), Ok(b"\x01\0\0service".to_vec()));
}

#[test]
fn a_full_queue_makes_clients_wait_and_a_closed_one_turns_them_away() {
    let net = Net::new();
    let name = hidden("busy");
    let listener = net.listener(Domain::Unix, &name, 0);
    let first = net.open(Domain::Unix, Kind::Stream);
    let second = net.open(Domain::Unix, Kind::Stream);
    assert_eq!(connect(&first, &name), Ok(()));
    assert_eq!(connect(&second, &name), Err(Errno::AGAIN));
    let before = rings(&second);
    let server = of(&listener).accept(OpenFlags::empty()).expect("there is one");
    assert_eq!(rings(&second), before + 1);
    assert_eq!(connect(&second, &name), Ok(()));
    drop(listener);
    assert_eq!(text(&second), Err(Errno::CONNRESET), "nobody has accepted it");
    assert_eq!(first.write(b"a"), Ok(1), "what was accepted stays");
    assert_eq!(text(&server), Ok(b"a".to_vec()));
    let third = net.open(Domain::Unix, Kind::Stream);
    assert_eq!(connect(&third, &name), Err(Errno::CONNREFUSED));
}

#[test]
fn names_are_taken_once_and_come_back() {
    let net = Net::new();
    let first = net.open(Domain::Unix, Kind::Stream);
    assert_eq!(of(&first).bind(hidden("a")), Ok(()));
    assert_eq!(of(&first).bind(hidden("b")), Err(Errno::INVAL), "one each");
    let second = net.open(Domain::Unix, Kind::Stream);
    assert_eq!(of(&second).bind(hidden("a")), Err(Errno::ADDRINUSE));
    drop(first);
    assert_eq!(of(&second).bind(hidden("a")), Ok(()));
    let third = net.open(Domain::Unix, Kind::Datagram);
    let unnamed = Target { name: Name::Unnamed, inode: None };
    assert_eq!(of(&third).bind(unnamed), Ok(()));
    assert_eq!(of(&third).name().len(), 8, "five digits");
}

#[test]
fn a_path_leads_to_its_socket_as_long_as_that_lives() {
    let (net, world) = (Net::new(), World::new(1 << 20));
    let inode = world.files.make_socket(&world.root, b"/tmp/s", 0o755).expect("room");
    let taken = world.files.make_socket(&world.root, b"/tmp/s", 0o755);
    assert_eq!(taken.map(|_| ()), Err(Errno::ADDRINUSE));
    let target = Target { name: Name::Path(b"/tmp/s".to_vec()), inode: Some(inode) };
    let listener = net.listener(Domain::Unix, &target, 1);
    let found = world.files.find_socket(&world.root, b"tmp/s").expect("there");
    let target = Target { name: Name::Path(b"tmp/s".to_vec()), inode: Some(found) };
    let client = net.open(Domain::Unix, Kind::Stream);
    assert_eq!(connect(&client, &target), Ok(()));
    assert_eq!(of(&client).peer_name(), Ok(b"\x01\0/tmp/s\0".to_vec()), "as it was bound");
    let datagrams = net.open(Domain::Unix, Kind::Datagram);
    assert_eq!(connect(&datagrams, &target), Err(Errno::PROTOTYPE));
    drop(listener);
    let late = net.open(Domain::Unix, Kind::Stream);
    assert_eq!(connect(&late, &target), Err(Errno::CONNREFUSED));
    world.put("/file", b"");
    let file = world.files.find_socket(&world.root, b"/file").map(|_| ());
    assert_eq!(file, Err(Errno::CONNREFUSED));
}

#[test]
fn ports_are_given_out_shared_and_refused_as_in_linux() {
    let net = Net::new();
    let listener = net.listener(Domain::Inet, &inet("127.0.0.1:80"), 5);
    let again = net.open(Domain::Inet, Kind::Stream);
    assert_eq!(of(&again).bind(inet("0.0.0.0:80")), Err(Errno::ADDRINUSE));
    let reuse = 1_i32.to_le_bytes();
    assert_eq!(of(&again).set_option(1, 2, &reuse), Ok(()));
    assert_eq!(of(&again).bind(inet("127.0.0.1:80")), Err(Errno::ADDRINUSE), "it listens");
    assert_eq!(of(&again).bind(inet("127.0.0.2:80")), Ok(()), "another address");
    assert_eq!(of(&again).bind(inet("10.0.0.1:80")), Err(Errno::INVAL));
    let foreign = net.open(Domain::Inet, Kind::Stream);
    assert_eq!(of(&foreign).bind(inet("10.0.0.1:80")), Err(Errno::ADDRNOTAVAIL));
    assert_eq!(connect(&foreign, &inet("10.0.0.1:80")), Err(Errno::NETUNREACH));
    assert_eq!(connect(&foreign, &inet("127.0.0.1:81")), Err(Errno::CONNREFUSED));
    assert_eq!(name(&foreign).port(), 0, "nothing is left of the attempt");
    let client = net.open(Domain::Inet, Kind::Stream);
    assert_eq!(connect(&client, &inet("127.0.0.1:80")), Ok(()));
    let server = of(&listener).accept(OpenFlags::empty()).expect("there is one");
    assert!(name(&client).ip().is_loopback() && name(&client).port() >= 32_768);
    assert_eq!(of(&server).peer_name(), Ok(of(&client).name()));
    assert_eq!(of(&client).peer_name(), Ok(of(&server).name()));
    drop((listener, server));
    let next = net.open(Domain::Inet, Kind::Stream);
    assert_eq!(of(&next).bind(inet("127.0.0.1:80")), Ok(()), "closed");
}

#[test]
fn ipv6_takes_ipv4_connections_too_unless_it_says_so() {
    let net = Net::new();
    let both = net.listener(Domain::Inet6, &inet("[::]:80"), 5);
    let client = net.open(Domain::Inet, Kind::Stream);
    assert_eq!(connect(&client, &inet("127.0.0.1:80")), Ok(()));
    let server = of(&both).accept(OpenFlags::empty()).expect("there is one");
    let peer = of(&server).peer_name().expect("connected");
    assert_eq!(&peer[18..24], [0xff, 0xff, 127, 0, 0, 1]);
    let only = net.open(Domain::Inet6, Kind::Stream);
    assert_eq!(of(&only).set_option(41, 26, &1_i32.to_le_bytes()), Ok(()));
    assert_eq!(of(&only).bind(inet("[::]:81")), Ok(()));
    assert_eq!(of(&only).listen(1, ME), Ok(()));
    let client = net.open(Domain::Inet, Kind::Stream);
    assert_eq!(connect(&client, &inet("127.0.0.1:81")), Err(Errno::CONNREFUSED));
    let client = net.open(Domain::Inet6, Kind::Stream);
    assert_eq!(connect(&client, &inet("[::1]:81")), Ok(()));
}

#[test]
fn tcp_that_does_not_wait_tells_later() {
    let net = Net::new();
    let listener = net.listener(Domain::Inet, &inet("127.0.0.1:80"), 5);
    let client = net.open(Domain::Inet, Kind::Stream);
    let begin = |client: &File, to: &str| of(client).connect(Some(&inet(to)), ME, true);
    assert_eq!(begin(&client, "127.0.0.1:80"), Err(Errno::INPROGRESS));
    assert!(client.poll().contains(Ready::OUT));
    assert_eq!(of(&client).option(1, 4), Ok(vec![0; 4]), "SO_ERROR");
    assert_eq!(begin(&client, "127.0.0.1:80"), Ok(()), "once");
    assert_eq!(begin(&client, "127.0.0.1:80"), Err(Errno::ISCONN));
    let client = net.open(Domain::Inet, Kind::Stream);
    assert_eq!(begin(&client, "127.0.0.1:81"), Err(Errno::INPROGRESS));
    assert!(client.poll().contains(Ready::OUT | Ready::ERR | Ready::HUP));
    let refused = Errno::CONNREFUSED.number().to_le_bytes().to_vec();
    assert_eq!(of(&client).option(1, 4), Ok(refused));
    assert_eq!(of(&client).option(1, 4), Ok(vec![0; 4]), "told once");
    drop(listener);
}

#[test]
fn what_comes_for_a_closed_end_of_tcp_is_answered_with_a_reset() {
    let net = Net::new();
    let listener = net.listener(Domain::Inet, &inet("127.0.0.1:80"), 5);
    let client = net.open(Domain::Inet, Kind::Stream);
    connect(&client, &inet("127.0.0.1:80")).expect("somebody listens");
    drop(of(&listener).accept(OpenFlags::empty()).expect("there is one"));
    assert_eq!(text(&client), Ok(vec![]), "the end");
    assert_eq!(client.write(b"a"), Ok(1), "it cannot know yet");
    assert_eq!(client.write(b"b"), Err(Errno::PIPE));
}

#[test]
fn half_a_connection_can_be_closed() {
    let net = Net::new();
    let (one, two) = net.pair(Kind::Stream);
    assert_eq!(one.write(b"last"), Ok(4));
    assert_eq!(of(&one).shutdown(1), Ok(()));
    assert_eq!(one.write(b"x"), Err(Errno::PIPE));
    assert_eq!(text(&two), Ok(b"last".to_vec()));
    assert_eq!(text(&two), Ok(vec![]));
    assert!(two.poll().contains(Ready::RDHUP) && !two.poll().contains(Ready::HUP));
    assert_eq!(two.write(b"answer"), Ok(6));
    assert_eq!(text(&one), Ok(b"answer".to_vec()));
    assert_eq!(of(&two).shutdown(1), Ok(()));
    assert!(one.poll().contains(Ready::HUP));
    assert_eq!(of(&one).shutdown(3), Err(Errno::INVAL));
    let unconnected = net.open(Domain::Inet, Kind::Stream);
    assert_eq!(of(&unconnected).shutdown(2), Err(Errno::NOTCONN));
}

#[test]
fn messages_stay_apart_and_tell_their_length() {
    let net = Net::new();
    for kind in [Kind::Datagram, Kind::Packets] {
        let (one, two) = net.pair(kind);
        for message in [&b"one"[..], b"", b"three"] {
            assert_eq!(one.write(message), Ok(message.len()));
        }
        let mut buffer = [0; 2];
        let received = of(&two).receive(&mut buffer, true).expect("there is one");
        assert_eq!((received.len, received.full_len), (2, 3));
        assert_eq!(text(&two), Ok(b"one".to_vec()));
        assert_eq!(text(&two), Ok(vec![]));
        assert_eq!(text(&two), Ok(b"three".to_vec()));
        assert_eq!(text(&two), Err(Errno::AGAIN));
        drop(two);
        let gone = if kind == Kind::Datagram { Errno::CONNREFUSED } else { Errno::PIPE };
        assert_eq!(one.write(b"x"), Err(gone));
    }
}

#[test]
fn datagrams_find_their_receiver_and_say_where_they_come_from() {
    let net = Net::new();
    let server = net.open(Domain::Inet, Kind::Datagram);
    assert_eq!(of(&server).bind(inet("127.0.0.1:53")), Ok(()));
    let client = net.open(Domain::Inet, Kind::Datagram);
    assert_eq!(client.write(b"x"), Err(Errno::DESTADDRREQ));
    let target = inet("127.0.0.1:53");
    let sent = of(&client).send(b"question", Some(&target), &mut Letter::default());
    assert_eq!(sent, Ok(8));
    let mut buffer = [0; 20];
    let received = of(&server).receive(&mut buffer, false).expect("it has come");
    let from = received.letter.expect("a letter").from;
    assert_eq!(from.inet().map(|from| from.port()), Some(name(&client).port()));
    let back = Target { name: from, inode: None };
    assert_eq!(of(&server).send(b"answer", Some(&back), &mut Letter::default()), Ok(6));
    assert_eq!(text(&client), Ok(b"answer".to_vec()));
    // Connected, it hears nobody else, and is told when nobody is there.
    assert_eq!(connect(&client, &target), Ok(()));
    let stranger = net.open(Domain::Inet, Kind::Datagram);
    assert_eq!(of(&stranger).send(b"psst", Some(&back), &mut Letter::default()), Ok(4));
    assert_eq!(text(&client), Err(Errno::AGAIN));
    drop(server);
    assert_eq!(client.write(b"anybody?"), Ok(8));
    assert_eq!(text(&client), Err(Errno::CONNREFUSED));
    assert_eq!(client.write(&vec![0; 65_508]), Err(Errno::MSGSIZE));
}

#[test]
fn a_crowded_receiver_makes_local_senders_wait_and_loses_what_comes_by_udp() {
    let net = Net::new();
    let receiver = net.open(Domain::Unix, Kind::Datagram);
    assert_eq!(of(&receiver).bind(hidden("log")), Ok(()));
    let sender = net.open(Domain::Unix, Kind::Datagram);
    assert_eq!(connect(&sender, &hidden("log")), Ok(()));
    let mut sent = 0;
    while sender.write(b"line").is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 11, "as in Linux");
    assert_eq!(sender.poll() & Ready::OUT, Ready::empty());
    let before = rings(&sender);
    assert_eq!(text(&receiver), Ok(b"line".to_vec()));
    assert_eq!(rings(&sender), before + 1);
    assert!(sender.poll().contains(Ready::OUT));
    let udp = net.open(Domain::Inet, Kind::Datagram);
    assert_eq!(of(&udp).bind(inet("127.0.0.1:514")), Ok(()));
    let sender = net.open(Domain::Inet, Kind::Datagram);
    assert_eq!(connect(&sender, &inet("127.0.0.1:514")), Ok(()));
    for _ in 0..100 {
        assert_eq!(sender.write(&[0; 8000]), Ok(8000));
    }
    assert!(udp.available().is_some_and(|len| len == 8000));
}

#[test]
fn descriptors_travel_and_a_socket_that_is_sent_to_itself_does_no_harm() {
    let net = Net::new();
    let (one, two) = net.pair(Kind::Stream);
    let file = eventfd::open(3, false, OpenFlags::empty());
    let rights = of(&one).rights(vec![file.clone()]).expect("few");
    let mut letter = Letter { rights, ..Letter::default() };
    assert_eq!(of(&one).send(b"x", None, &mut letter), Ok(1));
    assert!(letter.rights.is_empty(), "taken");
    let received = of(&two).receive(&mut [0; 8], false).expect("it has come");
    assert!(Arc::ptr_eq(&received.letter.expect("a letter").rights.files()[0], &file));
    // A long chain: each socket holds the next in its inbox.
    let (mut outer, mut inner) = net.pair(Kind::Stream);
    for _ in 0..3000 {
        let (next, end) = net.pair(Kind::Stream);
        send(&next, vec![inner, outer]);
        (outer, inner) = (next, end);
    }
    drop((outer, inner));
    let all: Result<Vec<_>, _> = (0..20_000).map(|_| of(&one).rights(vec![file.clone()])).collect();
    assert_eq!(all.map(|_| ()), Err(Errno::TOOMANYREFS));
}

/// Sends descriptions, and keeps nothing of them.
fn send(from: &File, files: Vec<File>) {
    let rights = of(from).rights(files).expect("not too many");
    let mut letter = Letter { rights, ..Letter::default() };
    assert_eq!(of(from).send(b"x", None, &mut letter), Ok(1));
}

#[test]
fn sockets_that_nobody_can_receive_any_more_are_closed_and_no_others() {
    let net = Net::new();
    let (keeper, keeper_end) = net.pair(Kind::Stream);
    // One in the inbox of a socket that somebody has, with another in its own inbox.
    let (deep, deep_end) = net.pair(Kind::Stream);
    let (nested, nested_end) = net.pair(Kind::Stream);
    assert_eq!(nested_end.write(b"still there"), Ok(11));
    send(&deep, vec![nested]);
    send(&keeper, vec![deep_end]);
    drop(deep);
    // What is lost: sent to itself, and to each other, each with a witness of its end.
    let witnesses: Vec<File> = (0..500)
        .map(|n| {
            let (one, two) = net.pair(Kind::Stream);
            let (witness, kept) = net.pair(Kind::Stream);
            if n % 2 == 0 {
                send(&one, vec![two.clone(), witness]);
            } else {
                send(&one, vec![two.clone(), witness]);
                send(&two, vec![one.clone()]);
            }
            kept
        })
        .collect();
    // The last ones are found by those who send after them.
    for _ in 0..64 {
        let (one, two) = net.pair(Kind::Stream);
        send(&keeper, vec![one, two]);
    }
    let open = witnesses.iter().filter(|kept| !kept.poll().contains(Ready::HUP)).count();
    assert_eq!(open, 0, "of {}", witnesses.len());
    let received = of(&keeper_end).receive(&mut [0; 1], false).expect("sent first");
    let deep_end = received.letter.expect("a letter").rights.files()[0].clone();
    let received = of(&deep_end).receive(&mut [0; 1], false).expect("sent before");
    let nested = received.letter.expect("a letter").rights.files()[0].clone();
    assert_eq!(text(&nested), Ok(b"still there".to_vec()));
}

#[test]
fn options_are_kept_and_unknown_ones_refused() {
    let net = Net::new();
    let file = net.open(Domain::Inet, Kind::Stream);
    let socket = of(&file);
    assert_eq!(socket.option(1, 3), Ok(1_i32.to_le_bytes().to_vec()), "SO_TYPE");
    assert_eq!(socket.option(1, 38), Ok(6_i32.to_le_bytes().to_vec()), "SO_PROTOCOL");
    assert_eq!(socket.set_option(6, 1, &1_i32.to_le_bytes()), Ok(()), "TCP_NODELAY");
    assert_eq!(socket.option(6, 1), Ok(1_i32.to_le_bytes().to_vec()));
    assert_eq!(socket.set_option(6, 1, &[1]), Err(Errno::INVAL));
    assert_eq!(socket.set_option(1, 9999, &[0; 4]), Err(Errno::NOPROTOOPT));
    let timeout: Vec<u8> = [1_u64, 500_000].iter().flat_map(|part| part.to_le_bytes()).collect();
    assert_eq!(socket.set_option(1, 20, &timeout), Ok(()), "SO_RCVTIMEO");
    assert_eq!(socket.timeout(false), Some(1_500_000_000));
    assert_eq!(socket.timeout(true), None);
    let bad = [0_u64, 1_000_000].map(u64::to_le_bytes).concat();
    assert_eq!(socket.set_option(1, 20, &bad), Err(Errno::DOM));
}
