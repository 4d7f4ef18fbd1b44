#!/bin/bash
# Entry point of the PostgreSQL image of the demo and the tests. It keeps what Compose files rely on in Docker's official
# image: POSTGRES_USER, _PASSWORD, _DB and _INITDB_ARGS, each also as …_FILE; POSTGRES_HOST_AUTH_METHOD; PGDATA; and the
# scripts in /docker-entrypoint-initdb.d, run once, when the data folder is new.
set -Eeo pipefail # no -u: scripts that are read may use variables that are not set

fail() {
	printf 'error: %s\n' "$1" >&2
	shift
	[ $# -eq 0 ] || printf '%s\n' "$@" >&2
	exit 1
}

# setting NAME DEFAULT: takes NAME, or the content of the file that NAME_FILE names.
setting() {
	local name=$1 file_name=$1_FILE
	if [ -n "${!name:-}" ] && [ -n "${!file_name:-}" ]; then
		fail "both $name and $file_name are set; one of them must go"
	fi
	local value=${!name:-$2}
	if [ -n "${!file_name:-}" ]; then
		value=$(<"${!file_name}")
	fi
	export "$name=$value"
	unset "$file_name"
}

read_settings() {
	setting POSTGRES_PASSWORD ''
	setting POSTGRES_USER postgres
	setting POSTGRES_DB "$POSTGRES_USER"
	setting POSTGRES_INITDB_ARGS ''
	: "${POSTGRES_HOST_AUTH_METHOD:=}"
}

check_password() {
	if [ "$POSTGRES_HOST_AUTH_METHOD" = trust ]; then
		printf 'warning: POSTGRES_HOST_AUTH_METHOD is "trust": anyone who reaches the port is let in, without a password\n' >&2
	elif [ -z "$POSTGRES_PASSWORD" ]; then
		fail 'the database is new and has no superuser password' \
			'hint: set POSTGRES_PASSWORD to a value that is not empty, or POSTGRES_PASSWORD_FILE' \
			'hint: POSTGRES_HOST_AUTH_METHOD=trust lets anyone in without a password, which is rarely wanted'
	fi
}

# become_postgres makes the folders postgres's own and starts this script again as that user.
become_postgres() {
	mkdir -p "$PGDATA" /var/run/postgresql
	chmod 0700 "$PGDATA"
	find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres '{}' +
	export HOME=/var/lib/postgresql
	exec setpriv --reuid=postgres --regid=postgres --init-groups -- "${BASH_SOURCE[0]}" "$@"
}

make_data_folder() {
	mkdir -p "$PGDATA"
	chmod 0700 "$PGDATA" || : # another user's folder may still have the right mode; initdb says if it has not
	local -a args
	eval "args=( ${POSTGRES_INITDB_ARGS} )" # quoted as for a shell, as the official image reads it
	if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
		args+=(--waldir "$POSTGRES_INITDB_WALDIR")
	fi
	# By descriptor, so that the password is never in a file or an argument. The line break is there for an empty one.
	initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${args[@]}"
	printf "\nlisten_addresses = '*'\n" >>"$PGDATA/postgresql.conf" # PostgreSQL's own default is localhost only
	local method=$POSTGRES_HOST_AUTH_METHOD
	if [ -z "$method" ]; then
		method=$(postgres -C password_encryption)
	fi
	printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

# docker_process_sql runs psql on the new database. Scripts that are read rather than run may use it.
docker_process_sql() {
	local -a query=(psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc --username "$POSTGRES_USER")
	if [ -n "${POSTGRES_DB:-}" ]; then
		query+=(--dbname "$POSTGRES_DB")
	fi
	PGHOST='' PGHOSTADDR='' "${query[@]}" "$@"
}

# The temporary server is reachable by its Unix socket only, so that no client comes before the scripts are through.
start_temporary_server() {
	set -- "$@" -c listen_addresses= -p 5432
	PGUSER="${PGUSER:-$POSTGRES_USER}" pg_ctl --pgdata="$PGDATA" --wait -o "$(printf '%q ' "$@")" start
}

stop_temporary_server() {
	PGUSER="${PGUSER:-$POSTGRES_USER}" pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
}

make_database() {
	if [ "$POSTGRES_DB" = postgres ]; then
		return
	fi
	POSTGRES_DB='' docker_process_sql --dbname postgres --set db="$POSTGRES_DB" <<-'SQL'
		CREATE DATABASE :"db";
	SQL
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
			continue
			;;
		*.sql | *.sql.gz | *.sql.xz | *.sql.zst) printf 'running %s\n' "$file" ;;
		*)
			printf 'ignoring %s\n' "$file"
			continue
			;;
		esac
		case $file in
		*.gz) gunzip -c "$file" | docker_process_sql ;;
		*.xz) xzcat "$file" | docker_process_sql ;;
		*.zst) zstd -dcq "$file" | docker_process_sql ;;
		*) docker_process_sql -f "$file" ;;
		esac
	done
}

set_up() {
	read_settings
	check_password
	make_data_folder
	export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD} # scripts run psql as they please
	start_temporary_server "$@"
	make_database
	shopt -s nullglob
	run_scripts /docker-entrypoint-initdb.d/*
	shopt -u nullglob
	stop_temporary_server
	unset PGPASSWORD
	printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

# starts_server: "postgres" is asked for, and not only for its help or version.
starts_server() {
	[ "${1:-}" = postgres ] || return 1
	local arg
	for arg in "$@"; do
		case $arg in -'?' | --help | --describe-config | -V | --version) return 1 ;; esac
	done
}

main() {
	case ${1:-} in -*) set -- postgres "$@" ;; esac
	if starts_server "$@"; then
		if [ "$(id -u)" = 0 ]; then
			become_postgres "$@"
		fi
		if [ -s "$PGDATA/PG_VERSION" ]; then
			printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
		else
			set_up "${@:2}"
		fi
	fi
	exec "$@"
}

main "$@"
