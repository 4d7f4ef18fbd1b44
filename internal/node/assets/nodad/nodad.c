/*
 * nodad is a CNI plugin, the first of the pods' network: what is connected to the pod's network namespace from now on
 * has its IPv6 addresses at once. The kernel would ask for a second or two whether somebody else has them, and the
 * plugin that connects the pod would wait for it. It makes no interface and gives no address.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CNI_VERSION "\"cniVersion\": \"1.0.0\""

/* fail tells what went wrong, as a CNI plugin does. */
static int fail(const char *what)
{
	printf("{" CNI_VERSION ", \"code\": 100, \"msg\": \"nodad: %s: %m\"}\n", what);
	return 1;
}

static int add(void)
{
	/* /proc/sys/net shows the network namespace of who opens it. A kernel without IPv6 has no such file. */
	static const char setting[] = "/proc/sys/net/ipv6/conf/default/accept_dad";
	const char *path = getenv("CNI_NETNS");
	int fd;

	if (path == NULL || (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return fail("CNI_NETNS");
	if (setns(fd, CLONE_NEWNET) != 0)
		return fail("enter the pod's network namespace");
	if ((fd = open(setting, O_WRONLY | O_CLOEXEC)) >= 0 && write(fd, "0", 1) != 1)
		return fail(setting);
	printf("{" CNI_VERSION ", \"interfaces\": [], \"ips\": [], \"dns\": {}}\n");
	return 0;
}

int main(void)
{
	const char *command = getenv("CNI_COMMAND");

	if (command != NULL && strcmp(command, "ADD") == 0)
		return add();
	if (command != NULL && strcmp(command, "VERSION") == 0)
		printf("{" CNI_VERSION ", \"supportedVersions\": [\"1.0.0\", \"1.1.0\"]}\n");
	return 0; /* there is nothing to check or to take back */
}
