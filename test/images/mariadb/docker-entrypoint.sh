#!/bin/bash
# Entry point of the MariaDB image of the tests. It keeps what Compose files rely on in Docker's official image:
# MARIADB_… and MYSQL_… of ROOT_PASSWORD, ALLOW_EMPTY_ROOT_PASSWORD, RANDOM_ROOT_PASSWORD, DATABASE, USER and PASSWORD,
# each of the passwords also as …_FILE, and the scripts in /docker-entrypoint-initdb.d, run once, when the data folder is
# new.
set -Eeo pipefail # no -u: scripts that are read may use variables that are not set

data=/var/lib/mysql
socket=/run/mysqld/mysqld.sock

fail() {
	printf 'error: %s\n' "$1" >&2
	shift
	[ $# -eq 0 ] || printf '%s\n' "$@" >&2
	exit 1
}

# setting NAME: sets MARIADB_NAME from it, from MYSQL_NAME, or from the file that one of them with _FILE names.
setting() {
	local name value='' file prefix
	for prefix in MARIADB MYSQL; do
		name=${prefix}_$1 file=${prefix}_$1_FILE
		if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
			fail "both $name and $file are set; one of them must go"
		fi
		if [ -z "$value" ] && [ -n "${!file:-}" ]; then
			value=$(<"${!file}")
		fi
		value=${value:-${!name:-}}
		unset "$file"
	done
	export "MARIADB_$1=$value"
}

read_settings() {
	local name
	for name in ROOT_PASSWORD ALLOW_EMPTY_ROOT_PASSWORD ALLOW_EMPTY_PASSWORD RANDOM_ROOT_PASSWORD DATABASE USER PASSWORD; do
		setting "$name"
	done
	if [ -n "$MARIADB_RANDOM_ROOT_PASSWORD" ]; then
		MARIADB_ROOT_PASSWORD=$(head -c 24 /dev/urandom | base64)
		printf 'GENERATED ROOT PASSWORD: %s\n' "$MARIADB_ROOT_PASSWORD"
	fi
	if [ -z "$MARIADB_ROOT_PASSWORD$MARIADB_ALLOW_EMPTY_ROOT_PASSWORD$MARIADB_ALLOW_EMPTY_PASSWORD" ]; then
		fail 'the database is new and has no root password' \
			'hint: set MARIADB_ROOT_PASSWORD or MYSQL_ROOT_PASSWORD, or one of them with _FILE' \
			'hint: MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1 lets anyone in, which is rarely wanted'
	fi
}

# quoted TEXT: as a string of SQL.
quoted() {
	local text=${1//\\/\\\\}
	printf "'%s'" "${text//\'/\\\'}"
}

# named TEXT: as a name in SQL.
named() { printf '`%s`' "${1//\`/\`\`}"; }

# docker_process_sql runs SQL on the new server. Scripts that are read rather than run may use it.
docker_process_sql() {
	MYSQL_PWD=${root_password:-} mariadb --protocol=socket --socket="$socket" -uroot --comments ${MARIADB_DATABASE:+"--database=$MARIADB_DATABASE"} "$@"
}

accounts() {
	printf "SET SQL_MODE='';\n"
	printf "ALTER USER 'root'@'localhost' IDENTIFIED BY %s;\n" "$(quoted "$MARIADB_ROOT_PASSWORD")"
	printf "CREATE USER 'root'@'%%' IDENTIFIED BY %s;\n" "$(quoted "$MARIADB_ROOT_PASSWORD")"
	printf "GRANT ALL ON *.* TO 'root'@'%%' WITH GRANT OPTION;\n"
	if [ -n "$MARIADB_DATABASE" ]; then
		printf 'CREATE DATABASE IF NOT EXISTS %s;\n' "$(named "$MARIADB_DATABASE")"
	fi
	if [ -n "$MARIADB_USER" ] && [ -n "$MARIADB_PASSWORD" ]; then
		printf "CREATE USER %s@'%%' IDENTIFIED BY %s;\n" "$(quoted "$MARIADB_USER")" "$(quoted "$MARIADB_PASSWORD")"
		if [ -n "$MARIADB_DATABASE" ]; then
			printf "GRANT ALL ON %s.* TO %s@'%%';\n" "$(named "${MARIADB_DATABASE//_/\\_}")" "$(quoted "$MARIADB_USER")"
		fi
	fi
}

run_scripts() {
	local file
	for file in "$@"; do
		case $file in
		*.sh)
			if [ -x "$file" ]; then
				printf 'running %s\n' "$file"
				"$file"
			else
				printf 'reading %s\n' "$file"
				# shellcheck source=/dev/null
				. "$file"
			fi
			;;
		*.sql) printf 'running %s\n' "$file" && docker_process_sql <"$file" ;;
		*.sql.gz) printf 'running %s\n' "$file" && gunzip -c "$file" | docker_process_sql ;;
		*) printf 'ignoring %s\n' "$file" ;;
		esac
	done
}

# The temporary server is reachable by its Unix socket only, so that no client comes before the scripts are through.
set_up() {
	read_settings
	mariadb-install-db --datadir="$data" --rpm --auth-root-authentication-method=normal --skip-test-db --cross-bootstrap \
		--skip-log-bin --expire-logs-days=0 --loose-innodb_buffer_pool_load_at_startup=0 >/dev/null
	"$@" --skip-networking --socket="$socket" --skip-log-bin --loose-innodb_buffer_pool_load_at_startup=0 &
	local server=$! try
	for ((try = 0; try < 300; try++)); do
		if mariadb --protocol=socket --socket="$socket" -uroot -e 'SELECT 1' >/dev/null 2>&1; then break; fi
		kill -0 "$server" 2>/dev/null || fail 'the server ended while it was set up'
		sleep 0.1
	done
	accounts | MARIADB_DATABASE='' docker_process_sql
	root_password=$MARIADB_ROOT_PASSWORD
	shopt -s nullglob
	run_scripts /docker-entrypoint-initdb.d/*
	shopt -u nullglob
	kill "$server"
	wait "$server"
	printf '\nMariaDB init process done. Ready for start up.\n\n'
}

# become_mysql makes the folders mysql's own and starts this script again as that user.
become_mysql() {
	mkdir -p "$data" /run/mysqld
	find "$data" /run/mysqld ! -user mysql -exec chown mysql: '{}' +
	exec setpriv --reuid=mysql --regid=mysql --clear-groups -- "${BASH_SOURCE[0]}" "$@"
}

# starts_server: "mariadbd" or "mysqld" is asked for, and not only for its help or version.
starts_server() {
	case ${1:-} in mariadbd | mysqld) ;; *) return 1 ;; esac
	local arg
	for arg in "$@"; do
		case $arg in -'?' | --help | --print-defaults | -V | --version) return 1 ;; esac
	done
}

main() {
	case ${1:-} in -*) set -- mariadbd "$@" ;; esac
	if starts_server "$@"; then
		if [ "$(id -u)" = 0 ]; then
			become_mysql "$@"
		fi
		if [ ! -d "$data/mysql" ]; then
			set_up "$@"
		fi
	fi
	exec "$@"
}

main "$@"
