//! One test function, a test on each kind of machine.

/// Makes a test of each function named, for each geometry and each scheme.
///
/// The function takes a running [`Machine`](crate::machine::Machine), or, behind `boots`, a
/// [`Boot`](crate::machine::Boot) to run as many as it likes. Behind `frees`, it is about when a PGD's frames are
/// free again, and schemes that keep PGDs for later do not run it. Behind `late`, only the lockless
/// scheme runs it, and the function is not there without the feature.
#[macro_export]
macro_rules! on_every_machine {
    ($($test:ident),* $(,)?) => {
        $($crate::on_every_machine! { @test $test, (run): locked, late, cached })*
    };
    (frees: $($test:ident),* $(,)?) => {
        $($crate::on_every_machine! { @test $test, (run): locked, late })*
    };
    (late: $($test:ident),* $(,)?) => {
        $($crate::on_every_machine! { @test $test, (run): late })*
    };
    (boots: $($test:ident),* $(,)?) => {
        $($crate::on_every_machine! { @test $test, (boot): locked, late, cached })*
    };
    (late boots: $($test:ident),* $(,)?) => {
        $($crate::on_every_machine! { @test $test, (boot): late })*
    };
    (@test $test:ident, $how:tt: $($scheme:ident),*) => {
        mod $test {
            $($crate::on_every_machine! { @$scheme $test, $how })*
        }
    };
    (@locked $test:ident, $how:tt) => {
        mod locked {
            $crate::on_every_machine! { @scheme $test, LockedPgds, $how }
        }
    };
    (@late $test:ident, $how:tt) => {
        #[cfg(feature = "pgd-init-late")]
        mod late {
            $crate::on_every_machine! { @scheme $test, LatePgds, $how }
        }
    };
    (@cached $test:ident, $how:tt) => {
        #[cfg(feature = "pgd-init-late")]
        mod cached {
            $crate::on_every_machine! { @scheme $test, CachedPgds, $how }
        }
    };
    (@scheme $test:ident, $scheme:ident, $how:tt) => {
        use arch_x86::geometry::{LongMode, PaePrivate, PaeShared, TwoLevel};
        use super::super::$test as test;
        use $crate::machine::{$scheme as Pgds, Boot};
        use $crate::shape::Shape;
        $crate::on_every_machine! { @geometry $how: two_level, TwoLevel, TwoLevel, TWO_LEVEL }
        $crate::on_every_machine! { @geometry $how: pae_shared, PaeShared, PaeShared, PAE_SHARED }
        $crate::on_every_machine! { @geometry $how: pae_private, PaePrivate, PaePrivate, PAE_PRIVATE }
        $crate::on_every_machine! { @geometry $how: four_level, LongMode, LongMode::FOUR_LEVEL, FOUR_LEVEL }
        $crate::on_every_machine! { @geometry $how: five_level, LongMode, LongMode::FIVE_LEVEL, FIVE_LEVEL }
    };
    (@geometry (run): $name:ident, $type:ty, $value:expr, $shape:ident) => {
        #[test]
        fn $name() {
            Boot::<$type, Pgds<$type>>::new($value, Shape::$shape).run(test);
        }
    };
    (@geometry (boot): $name:ident, $type:ty, $value:expr, $shape:ident) => {
        #[test]
        fn $name() {
            test(&Boot::<$type, Pgds<$type>>::new($value, Shape::$shape));
        }
    };
}
