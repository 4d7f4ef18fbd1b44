/*
 * pause is the first process of every pod's sandbox: it holds the pod's namespaces, reaps orphans when the
 * containers of a pod share one process namespace, and ends at once when asked to. It allocates nothing, since
 * one of it runs in every pod.
 */
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

int main(void)
{
	sigset_t set;
	int sig;

	/* Blocked, then waited for: the kernel drops unblocked signals that the first process has no handler for. */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return 1;

	for (;;) {
		if (sigwait(&set, &sig) != 0)
			return 1;
		if (sig != SIGCHLD)
			return 0;
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}
