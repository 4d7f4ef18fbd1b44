#!/bin/bash
# Entry point of the nginx image of the tests. It keeps what Compose files rely on in Docker's official image: each
# /etc/nginx/templates/NAME.template becomes /etc/nginx/conf.d/NAME with variables of the environment in it, and the
# scripts in /docker-entrypoint.d run before the server.
set -eo pipefail

fill_templates() {
	local template name defined
	defined=$(printf '${%s} ' $(compgen -e))
	for template in /etc/nginx/templates/*.template; do
		name=$(basename "$template" .template)
		envsubst "$defined" <"$template" >"/etc/nginx/conf.d/$name"
	done
}

run_scripts() {
	local script
	for script in /docker-entrypoint.d/*.sh; do
		if [ -x "$script" ]; then
			"$script"
		fi
	done
}

if [ "${1:-}" = nginx ]; then
	shopt -s nullglob
	run_scripts
	fill_templates
	shopt -u nullglob
fi
exec "$@"
