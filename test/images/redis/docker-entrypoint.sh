#!/bin/bash
# Entry point of the Redis image of the tests. As in Docker's official image, options or a configuration alone are those
# of redis-server, which runs as the user redis, and lets in other hosts when it has no password.
set -e

case ${1:-} in
-* | *.conf) set -- redis-server "$@" ;;
esac
if [ "${1:-}" = redis-server ]; then
	case " $* " in
	*' --protected-mode '*) ;;
	*) set -- "$@" --protected-mode no ;;
	esac
	if [ "$(id -u)" = 0 ]; then
		if [ "$PWD" != / ]; then
			find . ! -user redis -exec chown redis '{}' +
		fi
		exec setpriv --reuid=redis --regid=redis --clear-groups -- "$@"
	fi
fi
exec "$@"
