"""ClickHouse's HTTP interface, in front of the real engine that runs in this process.

The engine is the package `chdb`: ClickHouse without its server. What it misses is the server's
HTTP handler, of which this is as much as a client that inserts and queries can see: methods,
parameters, headers, status codes, the texts of errors. What is behind it is not imitated: every
statement runs on the engine as it came, apart from where its data is read from.

Usage: clickhouse_front.py PORT FOLDER; a user and a password in CLICKHOUSE_FRONT_USER and
CLICKHOUSE_FRONT_PASSWORD when callers must say them.
"""

import base64
import gzip
import hmac
import http.server
import json
import os
import re
import signal
import socketserver
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
import zlib

from chdb import session

# Parameters that are not settings of the engine.
NO_SETTINGS = {
    "query", "user", "password", "database", "default_format", "query_id", "session_id",
    "session_timeout", "session_check", "close_session", "quota_key", "stacktrace", "role",
    "buffer_size", "wait_end_of_query", "compress", "decompress", "enable_http_compression",
}

# Which status the server gives for a code; what is not listed is 500.
STATUS = {
    401: {194},
    403: {192, 193, 516},
    404: {46, 47, 50, 56, 60, 63, 73, 81, 115},
    400: {6, 25, 26, 27, 36, 38, 41, 53, 62, 72, 117, 321},
    408: {159},
    411: {381},
    413: {223},
    501: {48},
    503: {76, 209, 439},
}

INSERT = re.compile(rb"^\s*INSERT\s+INTO\s", re.IGNORECASE)
READS = re.compile(r"^[\s(]*(SELECT|WITH|SHOW|DESC|DESCRIBE|EXISTS|EXPLAIN)\b", re.IGNORECASE)
FORMAT = re.compile(rb"^(.*?\s)FORMAT\s+(\w+)[ \t]*\r?\n?", re.IGNORECASE | re.DOTALL)
SETTINGS = re.compile(r"\bSETTINGS\b", re.IGNORECASE)
SELECTS = re.compile(rb"\b(SELECT|WITH|FROM\s+INFILE|VALUES)\b", re.IGNORECASE)
CODE = re.compile(r"Code: (\d+)\.")
NAME = re.compile(r"^\w+$")

# What the engine reads inside of a file by itself; the rest is unpacked here.
PACKED = {"zstd": "zstd", "lz4": "lz4", "br": "br", "xz": "xz", "bz2": "bz2"}


class Refused(Exception):
    """What the server would refuse before the engine sees it."""

    def __init__(self, code, text, name):
        super().__init__(f"Code: {code}. DB::Exception: {text}. ({name})")


class Engine:
    """The engine, which takes one statement at a time."""

    def __init__(self, folder):
        self.session = session.Session(os.path.join(folder, "data"))
        self.bodies = tempfile.mkdtemp(dir=folder, prefix="bodies-")
        self.lock = threading.Lock()
        self.version = self.session.query("SELECT version()", "TSVRaw").bytes().decode().strip()

    def close(self):
        with self.lock:
            self.session.close()

    def run(self, statement, database, settings, parameters, output):
        """Runs a statement with settings that hold for it alone."""
        with self.lock:
            applied = []
            try:
                if database:
                    self.session.query(f"USE {identifier(database)}")
                for name, value in settings.items():
                    self.session.query(f"SET {identifier(name)} = {literal(value)}")
                    applied.append(name)
                return self.session.query(statement, output, params=parameters or None)
            finally:
                for name in applied:
                    self.session.query(f"SET {identifier(name)} = DEFAULT")
                if database:
                    self.session.query("USE default")

    def insert(self, head, form, data, packed, database, settings):
        """Runs an INSERT whose data came with the request."""
        file = os.path.join(self.bodies, uuid.uuid4().hex)
        try:
            with open(file, "wb") as out:
                out.write(data)
            clause = SETTINGS.search(head)
            before = head[: clause.start()] if clause else head
            after = head[clause.start():] if clause else ""
            source = f"FROM INFILE {literal(file)}"
            if packed:
                source += f" COMPRESSION {literal(packed)}"
            statement = f"{before.rstrip()} {source} {after.rstrip()} FORMAT {form}"
            return self.run(statement, database, settings, {}, "TabSeparated")
        finally:
            if os.path.exists(file):
                os.unlink(file)


class Faults:
    """What a test wants to go wrong next."""

    def __init__(self):
        self.lock = threading.Lock()
        self.lost = 0
        self.refused = []

    def plan(self, path, query):
        count = int(query.get("count", "1"))
        with self.lock:
            if path == "/front/lose_answers":
                self.lost = count
            elif path == "/front/refuse":
                self.refused = [int(query["code"])] * count
            else:
                return False
        return True

    def refuse(self):
        with self.lock:
            code = self.refused.pop() if self.refused else None
        if code is not None:
            raise Refused(code, "Refused because the test wants it", "PLANNED_FAULT")

    def loses_answer(self):
        with self.lock:
            is_lost = self.lost > 0
            self.lost -= is_lost
            return is_lost


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def do_GET(self):
        self.serve(reads_only=True)

    def do_POST(self):
        self.serve(reads_only=False)

    do_HEAD = do_GET
    do_PUT = do_POST

    def log_message(self, form, *arguments):
        """The log is for what the engine says."""

    def serve(self, reads_only):
        target = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(target.query, keep_blank_values=True))
        body = self.body()
        if target.path.startswith("/front/"):
            known = self.server.faults.plan(target.path, query)
            return self.answer(200 if known else 404, b"", {})
        if target.path in ("/ping", "/replicas_status") or (reads_only and "query" not in query):
            return self.answer(200, b"Ok.\n", {})
        started = time.monotonic_ns()
        try:
            self.authenticate(query)
            self.server.faults.refuse()
            result = self.execute(query, body, reads_only)
        except Exception as problem:
            return self.refuse(str(problem))
        if self.server.faults.loses_answer():
            self.close_connection = True
            return None
        headers = {
            "X-ClickHouse-Summary": summary(result, time.monotonic_ns() - started),
            "X-ClickHouse-Format": output(query, self.headers),
            "X-ClickHouse-Query-Id": query.get("query_id", str(uuid.uuid4())),
        }
        return self.answer(200, result.bytes(), headers)

    def body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.exactly(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.exactly(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def exactly(self, size):
        data = self.rfile.read(size)
        if len(data) < size:
            # Half a request is nobody's: the caller is gone.
            raise ConnectionResetError("the request ended early")
        return data

    def authenticate(self, query):
        wanted = self.server.credentials
        user = self.headers.get("X-ClickHouse-User", query.get("user", "default"))
        key = self.headers.get("X-ClickHouse-Key", query.get("password", ""))
        basic = self.headers.get("Authorization", "")
        if basic.lower().startswith("basic "):
            user, _, key = base64.b64decode(basic[6:]).decode().partition(":")
        is_known = all(hmac.compare_digest(a.encode(), b.encode())
                       for a, b in zip((user, key), wanted))
        if wanted[0] and not is_known:
            text = (f"{user}: Authentication failed: password is incorrect, "
                    "or there is no user with such name")
            raise Refused(516, text, "AUTHENTICATION_FAILED")

    def execute(self, query, body, reads_only):
        database = self.headers.get("X-ClickHouse-Database", query.get("database"))
        settings = {name: value for name, value in query.items()
                    if name not in NO_SETTINGS and not name.startswith("param_")}
        parameters = {name[6:]: value for name, value in query.items()
                      if name.startswith("param_")}
        for name in ("compress", "decompress"):
            if query.get(name, "0") != "0":
                raise Refused(48, f"This front knows no {name}=1", "NOT_IMPLEMENTED")
        data, packed = unpacked(body, self.headers.get("Content-Encoding", ""))
        parts = insertion(query.get("query", "").encode(), data, packed)
        if reads_only and not READS.match(query["query"]):
            text = "Cannot execute query in readonly mode. For queries over HTTP, method GET " \
                   "implies readonly"
            raise Refused(164, text, "READONLY")
        engine = self.server.engine
        if parts:
            head, form, data = parts
            if not data:
                return engine.run("SELECT 1 WHERE 0", database, settings, {}, "TSV")
            return engine.insert(head, form, data, packed, database, settings)
        if packed:
            raise Refused(48, f"This front unpacks {packed} in INSERT only", "NOT_IMPLEMENTED")
        statement = (query.get("query", "").encode() + b"\n" + data).decode().strip()
        if not statement:
            raise Refused(62, "Syntax error: Empty query", "SYNTAX_ERROR")
        return engine.run(statement, database, settings, parameters, output(query, self.headers))

    def refuse(self, text):
        code = CODE.search(text)
        code = int(code.group(1)) if code else 1002
        status = next((status for status, codes in STATUS.items() if code in codes), 500)
        body = f"{text} (version {self.server.engine.version} (official build))\n".encode()
        self.answer(status, body, {"X-ClickHouse-Exception-Code": str(code)})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """A caller that hangs up is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def insertion(query, body, packed):
    """Head, format and data of an INSERT with data in a format; nothing for other statements."""
    text = query or (b"" if packed else body)
    found = FORMAT.match(text) if INSERT.match(text) else None
    if not found or SELECTS.search(found.group(1)):
        return None
    inline = text[found.end():]
    head = found.group(1).decode().strip()
    return head, found.group(2).decode(), inline + body if query else inline


def unpacked(body, encoding):
    """The body, and how it is still packed."""
    if encoding in ("", "identity"):
        return body, None
    try:
        if encoding == "gzip":
            return gzip.decompress(body), None
        if encoding == "deflate":
            return zlib.decompress(body), None
    except (OSError, EOFError, zlib.error) as problem:
        raise Refused(354, f"inflate failed: {problem}", "ZLIB_INFLATE_FAILED") from problem
    if encoding in PACKED:
        return body, PACKED[encoding]
    raise Refused(48, f"Unknown compression method {encoding}", "NOT_IMPLEMENTED")


def output(query, headers):
    return query.get("default_format") or headers.get("X-ClickHouse-Format") or "TabSeparated"


def summary(result, elapsed_ns):
    return json.dumps({
        "read_rows": str(result.rows_read()),
        "read_bytes": str(result.bytes_read()),
        "written_rows": str(result.rows_written()),
        "written_bytes": str(result.bytes_written()),
        "result_rows": str(result.rows_read()),
        "elapsed_ns": str(elapsed_ns),
    })


def identifier(name):
    if not NAME.match(name):
        raise Refused(36, f"No name: {name}", "BAD_ARGUMENTS")
    return f"`{name}`" if name[0].isdigit() else name


def literal(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def main():
    port, folder = int(sys.argv[1]), sys.argv[2]
    server = Server(("127.0.0.1", port), Handler, bind_and_activate=False)
    server.engine = Engine(folder)
    server.faults = Faults()
    server.credentials = (os.environ.get("CLICKHOUSE_FRONT_USER", ""),
                          os.environ.get("CLICKHOUSE_FRONT_PASSWORD", ""))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.server_bind()
    server.server_activate()
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        server.engine.close()


if __name__ == "__main__":
    main()
