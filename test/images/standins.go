package main

import (
	"errors"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Stand-ins are for tests with the applications that people write: the servers of Debian with the contract of Docker's
// official images, as far as Compose files lean on it.

// usualPath is PATH in most images.
const usualPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// fromSelf adds files of this program: path in the image to path here. All can be run that end in .sh.
func fromSelf(l *layer, files map[string]string) error {
	for _, target := range sortedKeys(files) {
		content, err := self.ReadFile(files[target])
		if err != nil {
			return err
		}
		mode := int64(0o644)
		if strings.HasSuffix(target, ".sh") {
			mode = 0o755
		}
		if err := l.file(target, mode, content); err != nil {
			return err
		}
	}
	return nil
}

const nginxID = 101 // user and group of the official image

func nginx() recipe {
	return recipe{
		names: []string{"nginx:latest", "nginx:alpine", "nginx:1.22-alpine"},
		// curl is in the official image, and health checks use it.
		packages: append(shell(), "curl", "gettext-base", "nginx"),
		without:  append(onlyToInstall(), "iproute2", "krb5-locales"),
		skip:     skipDocs,
		inputs:   nothing,
		files: func(l *layer, _ inputs) error {
			return errors.Join(
				basics(l, "nginx", nginxID, "/nonexistent"),
				fromSelf(l, map[string]string{
					"docker-entrypoint.sh": "nginx/docker-entrypoint.sh", "etc/nginx/nginx.conf": "nginx/nginx.conf", "etc/nginx/conf.d/default.conf": "nginx/default.conf",
				}),
				l.folder("docker-entrypoint.d", 0o755, 0),
				l.link("var/log/nginx/access.log", "/dev/stdout"), l.link("var/log/nginx/error.log", "/dev/stderr"),
				l.file("usr/share/nginx/html/50x.html", 0o644, []byte("<h1>An error occurred.</h1>\n")),
			)
		},
		config: func(inputs) v1.Config {
			return v1.Config{
				Env:        []string{usualPath, "NGINX_VERSION=1.22"},
				Entrypoint: []string{"/docker-entrypoint.sh"}, Cmd: []string{"nginx", "-g", "daemon off;"},
				ExposedPorts: map[string]struct{}{"80/tcp": {}}, StopSignal: "SIGQUIT",
			}
		},
	}
}

const redisID = 999

func redis() recipe {
	return recipe{
		names:    []string{"redis:latest", "redis:alpine", "redis:7-alpine", "redislabs/redismod:latest"},
		packages: append(shell(), "redis-server", "util-linux"),
		without:  onlyToInstall(),
		skip: func(name string) bool {
			return skipDocs(name) || unusedUtilLinux(name) || name == "usr/bin/redis-benchmark" || name == "usr/bin/redis-check-aof"
		},
		inputs: nothing,
		files: func(l *layer, _ inputs) error {
			return errors.Join(
				basics(l, "redis", redisID, "/data"),
				fromSelf(l, map[string]string{"usr/local/bin/docker-entrypoint.sh": "redis/docker-entrypoint.sh"}),
				l.folder("data", 0o755, redisID),
			)
		},
		config: func(inputs) v1.Config {
			return v1.Config{
				Env:        []string{usualPath, "REDIS_VERSION=7.0"},
				Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"redis-server"},
				ExposedPorts: map[string]struct{}{"6379/tcp": {}}, Volumes: map[string]struct{}{"/data": {}}, WorkingDir: "/data",
			}
		},
	}
}

// python has the libraries that small web applications import; there is no pip.
func python() recipe {
	return recipe{
		names: []string{"python:latest", "python:3", "python:3.11-slim", "python:3.11-alpine", "python:alpine"},
		packages: append(shell(), "curl", "gunicorn", "python3", "python3-flask", "python3-psycopg2",
			"python3-pymysql", "python3-redis", "tzdata"),
		without: append(onlyToInstall(), "krb5-locales", "libjs-jquery", "libjs-mathjax", "libjs-underscore", "libjs-sphinxdoc"),
		skip: func(name string) bool {
			return skipDocs(name) || path.Base(name) == "tests" && strings.Contains(name, "dist-packages") ||
				strings.HasPrefix(name, "usr/share/zoneinfo/right") || strings.HasPrefix(name, "usr/share/zoneinfo/posix")
		},
		inputs: nothing,
		files: func(l *layer, _ inputs) error {
			return errors.Join(
				basics(l, "", 0, ""),
				l.link("usr/local/bin/python", "/usr/bin/python3"), l.link("usr/local/bin/python3", "/usr/bin/python3"),
			)
		},
		config: func(inputs) v1.Config {
			return v1.Config{Env: []string{usualPath, "LANG=C.UTF-8", "PYTHON_VERSION=3.11"}, Cmd: []string{"python3"}}
		},
	}
}

const mariadbID = 999

func mariadb() recipe {
	return recipe{
		names: []string{
			"mariadb:latest", "mariadb:10", "mariadb:10-focal", "mariadb:10.5", "mariadb:10.6.4-focal", "mariadb:10.9", "mysql:8", "mysql:latest",
		},
		packages: append(shell(), "mariadb-client", "mariadb-client-core", "mariadb-server-core", "util-linux"),
		without:  append(onlyToInstall(), "libconfig-inifiles-perl"),
		skip: func(name string) bool {
			return skipDocs(name) || unusedUtilLinux(name) || unusedMariaDB(name)
		},
		inputs: nothing,
		files: func(l *layer, _ inputs) error {
			return errors.Join(
				basics(l, "mysql", mariadbID, "/var/lib/mysql"),
				fromSelf(l, map[string]string{
					"usr/local/bin/docker-entrypoint.sh": "mariadb/docker-entrypoint.sh", "usr/local/bin/healthcheck.sh": "mariadb/healthcheck.sh",
					"etc/mysql/conf.d/server.cnf": "mariadb/server.cnf",
				}),
				l.file("etc/mysql/my.cnf", 0o644, []byte("!includedir /etc/mysql/conf.d/\n")),
				l.folder("docker-entrypoint-initdb.d", 0o755, 0),
				l.folder("run/mysqld", 0o1777, mariadbID),
				l.folder("var/lib/mysql", 0o1777, mariadbID),
				l.link("usr/sbin/mysqld", "mariadbd"),
			)
		},
		config: func(inputs) v1.Config {
			return v1.Config{
				Env:        []string{usualPath, "LANG=C.UTF-8", "MARIADB_VERSION=10.11"},
				Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"mariadbd"},
				ExposedPorts: map[string]struct{}{"3306/tcp": {}}, Volumes: map[string]struct{}{"/var/lib/mysql": {}},
			}
		},
	}
}

// unusedMariaDB leaves of the clients those that applications' checks and scripts run.
func unusedMariaDB(name string) bool {
	dir, base := path.Split(name)
	if dir != "usr/bin/" {
		return false
	}
	mine := strings.HasPrefix(base, "mariadb") || strings.HasPrefix(base, "mysql") || strings.HasPrefix(base, "my_")
	other := slices.Contains([]string{"innochecksum", "innotop", "msql2mysql", "mytop", "perror", "replace", "resolve_stack_dump"}, base)
	return other || mine && !slices.Contains([]string{
		"mariadb", "mariadb-admin", "mariadb-dump", "mariadb-install-db", "my_print_defaults", "mysql", "mysqladmin", "mysqldump",
	}, base)
}
