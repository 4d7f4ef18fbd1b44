#!/bin/bash
# Health check of the MariaDB image of the tests, with the options of Docker's official image that Compose files use:
# --connect, --innodb_initialized. A server that refuses a password answers.
set -eo pipefail

for option in "$@"; do
	case $option in
	--connect) mariadb-admin ping --protocol=tcp -h 127.0.0.1 --silent ;;
	--innodb_initialized) [ -s /var/lib/mysql/ibdata1 ] ;;
	--su-mysql | --defaults-* | --no-defaults) ;;
	*)
		printf 'healthcheck.sh: unknown option %s\n' "$option" >&2
		exit 1
		;;
	esac
done
