"""A small web application for the end-to-end tests: it uses what it is asked to use, and tells what its container is like."""

import os
import signal
import socket
import sys

from flask import Flask, request

app = Flask(__name__)


def password():
    with open(os.environ.get("PASSWORD_FILE", "/run/secrets/db-password")) as f:
        return f.read().strip()


@app.get("/")
def home():
    """Whichever back end the project has."""
    kind = os.environ.get("BACKEND", "")
    if kind == "mysql":
        return mysql()
    if kind == "postgres":
        return postgres()
    if kind == "redis":
        return hits()
    return "hello from " + socket.gethostname()


@app.get("/health")
@app.get("/flask-health-check")
def health():
    return "ok"


def visits(connection, database):
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE IF NOT EXISTS visits (id int)")
    cursor.execute("INSERT INTO visits VALUES (1)")
    cursor.execute("SELECT COUNT(*) FROM visits")
    count = cursor.fetchone()[0]
    connection.commit()
    connection.close()
    return f"{database}: visit {count}"


@app.get("/mysql")
def mysql():
    import pymysql

    return visits(pymysql.connect(host="db", user="root", password=password(), database="example"), "mysql")


@app.get("/postgres")
def postgres():
    import psycopg2

    return visits(psycopg2.connect(host="db", user="postgres", password=password(), dbname="example"), "postgres")


@app.get("/hits")
def hits():
    import redis

    count = redis.Redis(host="redis").incr("hits")
    return f"{socket.gethostname()}: hit {count}"


@app.get("/env")
def env():
    return os.environ.get(request.args["name"], "(not set)")


@app.get("/file")
def file():
    with open(request.args["path"]) as f:
        return f.read()


@app.get("/stat")
def stat():
    s = os.stat(request.args["path"])
    return f"{s.st_uid}:{s.st_gid} {s.st_mode & 0o7777:o}"


@app.get("/list")
def list_folder():
    return " ".join(sorted(os.listdir(request.args["path"])))


@app.get("/write")
def write():
    try:
        with open(request.args["path"], "w") as f:
            f.write(request.args["text"])
    except OSError as e:
        return e.strerror
    return "written"


@app.get("/lookup")
def lookup():
    try:
        return " ".join(sorted({a[4][0] for a in socket.getaddrinfo(request.args["name"], None)}))
    except socket.gaierror as e:
        return f"not found: {e}"


@app.get("/ask")
def ask():
    import urllib.request

    with urllib.request.urlopen(request.args["url"], timeout=5) as answer:
        return answer.read().decode()


@app.get("/id")
def identity():
    return f"{os.getuid()}:{os.getgid()} {' '.join(str(g) for g in sorted(os.getgroups()))}"


@app.get("/pid1")
def pid1():
    with open("/proc/1/cmdline") as f:
        return f.read().replace("\0", " ").strip()


@app.get("/args")
def args():
    return "\n".join(sys.argv[1:])


if __name__ == "__main__":
    # The first process of a container is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    app.run(host="0.0.0.0", port=int(os.environ.get("PORT", "8000")), threaded=True)
