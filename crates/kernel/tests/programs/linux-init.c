/*
 * On Linux, does what the reference kernel does itself: runs what /etc/init.arguments says, each argument ended
 * by a NUL, as a child; waits for it; ends the machine. Before, it says what Linux defends itself against.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define FOLDER "/sys/devices/system/cpu/vulnerabilities"

static int read_file(const char *path, char *contents, size_t size)
{
	int file = open(path, O_RDONLY);
	ssize_t len = file < 0 ? -1 : read(file, contents, size - 1);
	if (file >= 0)
		close(file);
	contents[len < 0 ? 0 : len] = 0;
	return len;
}

static void describe(void)
{
	struct utsname name;
	char contents[256];
	if (uname(&name) == 0)
		printf("linux release %s\n", name.release);
	mkdir("/sys", 0755);
	mount("none", "/sys", "sysfs", 0, NULL);
	DIR *folder = opendir(FOLDER);
	for (struct dirent *entry; folder && (entry = readdir(folder));) {
		char path[512];
		snprintf(path, sizeof path, FOLDER "/%s", entry->d_name);
		if (entry->d_name[0] == '.' || read_file(path, contents, sizeof contents) <= 0)
			continue;
		contents[strcspn(contents, "\n")] = 0;
		printf("linux vulnerability %s: %s\n", entry->d_name, contents);
	}
	if (folder)
		closedir(folder);
	fflush(stdout);
}

int main(void)
{
	static char contents[4096], *arguments[64];
	char *environment[] = { NULL };
	int len = read_file("/etc/init.arguments", contents, sizeof contents), status, count = 0;
	for (char *at = contents; at < contents + len && count < 63; at += strlen(at) + 1)
		arguments[count++] = at;
	describe();
	pid_t child = fork();
	if (child == 0) {
		execve(arguments[0], arguments, environment);
		_exit(127);
	}
	while (wait(&status) != child)
		;
	printf("linux program ended with %#x\n", status);
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
