"""The page for a browser, and `cloister dashboard` that brings it there."""

import http.client
import http.server
import os
import re
import signal
import socket
import subprocess
import threading
import unittest
from contextlib import contextmanager

import browser
from machine import PATIENCE, wait_until

TWO_PACKAGES = """
[[package]]
epc = [{ base = 0x1_0000_0000, size = 16 }]
[[package]]
epc = [{ base = 0x80_0000_0000, size = 8, node = 1 }, { base = 0x90_0000_0000, size = 4, node = 1 }]
"""


class Shown:
    """A page that is served, for who has the address that was printed."""

    def __init__(self, address):
        printed = re.fullmatch(r"(http://127\.0\.0\.1:(\d+)(/\?token=([0-9a-f]{32})))\n", address)
        assert printed, f"no address: {address}"
        self.address, port, self.entrance, self.token = printed.groups()
        self.port = int(port)
        status, headers, _ = request(self.port, "GET", self.entrance)
        assert status == 303, status
        self.folder = headers["Location"]
        self.cookie, *attributes = headers["Set-Cookie"].split("; ")
        assert sorted(attributes) == sorted(["HttpOnly", "SameSite=Strict", f"Path={self.folder}"]), headers

    def get(self, path="", method="GET", headers=None, body=None):
        return request(self.port, method, self.folder + path, {"Cookie": self.cookie, **(headers or {})}, body)


@contextmanager
def dashboard(m, user=None, group=None, port=0):
    """`cloister dashboard`; gives what it shows."""
    command = [m.settings.programs / "cloister", "--run", m.run, "dashboard", "--port", str(port)]
    other = {} if user is None else {"user": user, "group": group, "extra_groups": []}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **other)
    try:
        yield Shown(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(PATIENCE)
        process.stdout.close()
    assert status == 0, status


def request(port, method, path, headers=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, body, headers or {})
    reply = connection.getresponse()
    answer = reply.status, dict(reply.getheaders()), reply.read()
    connection.close()
    return answer


def forwarding(machine):
    """GET requests reach the daemon, others do not; nor do those of a page that goes by another name."""
    m = machine(TWO_PACKAGES)
    m.create("one")
    with dashboard(m) as shown:
        port = shown.port
        status, headers, page = shown.get()
        assert status == 200 and page == m.request("GET", "/").body and headers["Content-Type"].startswith("text/html")
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy, policy
        assert not re.search(rb"https?://|src=|@import|url\(", page), "the page asks for something from elsewhere"
        assert shown.get("v1/domains/one")[0] == 200
        assert shown.get("v1/epc/map?cells=1x")[0] == 400
        assert shown.get("nothing")[0] == 404
        assert shown.get(headers={"Host": f"localhost:{port}"})[0] == 200
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", "", f"127.0.0.1:{port}.evil"):
            status, _, body = shown.get("v1/domains", headers={"Host": host})
            assert status == 403 and b"one" not in body, (host, status, body)
        for method in ("POST", "DELETE", "PATCH", "PUT", "OPTIONS", "HEAD"):
            assert shown.get("v1/domains/one", method)[0] == 405, method
        assert shown.get("v1/domains/one/pause", "POST", body="{}")[0] == 405
        assert m.domains()["one"]["state"] == "running"
        # On loopback alone: another of this machine's addresses does not answer.
        with socket.socket() as other, unittest.TestCase().assertRaises(OSError):
            other.connect(("127.0.0.2", port))
        # Nor is the port shared with another one, which says so.
        command = [m.settings.programs / "cloister", "--run", m.run, "dashboard", "--port", str(port)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert second.returncode == 1 and second.stdout == "", second
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in second.stderr, second
        # Silence keeps nobody out here either.
        silent = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(100)]
        assert shown.get("v1/domains/one")[0] == 200
        del silent
        m.kill(signal.SIGTERM)
        assert shown.get("v1/domains")[0] == 502
    m.start()


def token(machine):
    """Nothing is shown to who has not the token, nor changed for anybody."""
    m = machine(TWO_PACKAGES)
    m.create("secret")
    with dashboard(m) as shown, dashboard(m) as other:
        assert len({shown.token, shown.folder, shown.cookie, other.token, other.folder, other.cookie}) == 6
        assert shown.get("v1/domains")[0] == other.get("v1/domains")[0] == 200

        def refused(method, path, headers=None):
            status, answer, body = request(shown.port, method, path, headers)
            assert status == 401 and b"secret" not in body, (method, path, headers, status, body)
            assert "WWW-Authenticate" in answer and "Set-Cookie" not in answer, answer
            assert method == "HEAD" or b'<input name="token"' in body, body
            assert "default-src 'none'" in answer["Content-Security-Policy"], answer
            assert answer["Referrer-Policy"] == "no-referrer" and answer["Cache-Control"] == "no-store", answer

        theirs, ours = {"Cookie": other.cookie}, {"Cookie": shown.cookie}
        for path in ("/", "/v1/domains", "/metrics", shown.folder, shown.folder + "v1/domains", other.folder, "/favicon.ico"):
            for headers in (None, theirs, {"Cookie": "cloister="}, {"Authorization": f"Bearer {shown.token}"}):
                refused("GET", path, headers)
            for method in ("POST", "DELETE", "PATCH", "PUT", "OPTIONS", "HEAD"):
                refused(method, path)
        # Who has the token learns that it opens nothing but what is read.
        for method in ("POST", "DELETE", "PATCH", "PUT", "OPTIONS", "HEAD"):
            status, fields, _ = request(shown.port, method, f"/?token={shown.token}")
            assert status == 405 and "Set-Cookie" not in fields, (method, status, fields)
        # The cookie is worth nothing but in its folder, and the token nothing but at the entrance.
        for path in ("/", "/v1/domains", other.folder + "v1/domains", shown.folder[:-1]):
            refused("GET", path, ours)
        for path in ("/?token=", f"/?token={other.token}", f"/?token={shown.token}x", f"/v1/domains?token={shown.token}"):
            refused("GET", path)
        assert m.domains()["secret"]["state"] == "running"


# How many pixels of a package's canvas are coloured: grey is free.
COLOURED = """(() => {
  const canvas = document.querySelector('[data-package="%d"] canvas');
  if (!canvas || !canvas.width || !canvas.height) return -1;
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let coloured = 0;
  for (let i = 0; i < data.length; i += 4)
    coloured += data[i + 3] > 0 && Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 16;
  return coloured;
})()"""
HOSTILE = b"<script>document.title=1</script><img src=x onerror=document.title=2>"


def have_printed(m, name, text):
    """The guest echoes what is typed; a byte at a time, since its UART holds few."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
        console.settimeout(PATIENCE)
        console.connect(m.domains()[name]["console"])
        seen = b""
        while not seen.endswith(b"READY\n") and not seen.endswith(b"READY\r\n"):
            seen += console.recv(4096)
        for i in range(len(text)):
            console.sendall(text[i : i + 1])
            assert console.recv(1) == text[i : i + 1]


def shut_off(m, page):
    """A domain that is defined is in the list, with its autostart word, and says how it is started; then it is one of
    those that run, and still the one that is looked at."""
    text = {key: value for key, value in m.creation("kept", epc=0).items() if key != "paused"}
    assert m.request("PUT", "/v1/domains/kept", text).status == 201
    assert m.request("PATCH", "/v1/domains/kept", {"autostart": "last"}).status == 200
    row = "[...document.querySelectorAll('button.row')].find(row => row.innerText.includes('kept'))"
    page.wait(f"{row} !== undefined", "the domain that is shut off")
    shown = page.value(f"{row}.innerText")
    assert "shut off" in shown and "autostart last" in shown, shown
    page.wait("document.getElementById('numbers').innerText.includes('1 running, 1 shut off')", "its count")
    page.value(f"{row}.click()")
    page.wait("document.getElementById('console-name').textContent == 'kept is shut off'", "its name")
    assert page.value("document.getElementById('console-text').textContent") == "cloister start kept\n"
    assert m.request("POST", "/v1/domains/kept/start").status == 201
    page.wait("document.getElementById('console-name').textContent == 'Console of kept'", "its console")
    page.wait("document.getElementById('console-text').textContent.includes('READY')", "what it prints")
    m.destroy("kept")
    page.wait("document.getElementById('console-name').textContent == 'kept is shut off'", "its end")
    assert m.request("DELETE", "/v1/domains/kept/definition").status == 200
    page.wait("document.querySelectorAll('button.row').length == 1", "that it is forgotten")


def in_browser(machine):
    """Chromium shows domains, the picture and the console, follows changes, and runs nothing that a guest prints."""
    if not browser.program():
        raise unittest.SkipTest("Chromium is not installed (apt-get install chromium)")
    m = machine(TWO_PACKAGES)
    page = browser.Browser()
    try:
        with dashboard(m) as shown:
            page.open(shown.address)
            page.wait("document.querySelectorAll('#packages canvas').length == 2", "two packages")
            assert page.wait("document.getElementById('none').hidden == false", "that there is no domain")
            assert page.value(COLOURED % 0) == page.value(COLOURED % 1) == 0
            assert "28 MiB" in page.value("document.getElementById('numbers').innerText")

            m.create("alpha", epc='["size=8,package=0"]')
            m.create("beta", epc='["size=1,package=1"]')
            page.wait("document.querySelectorAll('button.row').length == 2", "two domains")
            page.wait(f"{COLOURED % 0} > 1000 && {COLOURED % 1} > 100", "coloured frames")
            page.wait("document.getElementById('list').innerText.includes('MIPS')", "a speed")
            row = page.value("document.querySelector('button.row').innerText")
            for words in ("alpha", "running", "8 MiB", "1 vCPU"):
                assert words in row, (words, row)

            m.wait_for_ready("beta")
            have_printed(m, "beta", HOSTILE)
            page.value("document.querySelectorAll('button.row')[1].click()")
            page.wait("document.getElementById('console-text').textContent.includes('</script><img src=x')", "the console")
            assert page.value("document.getElementById('console-text').children.length") == 0
            assert page.value("document.title") == "Cloister"

            # The pointer over a frame: which, whose, and what it is.
            x, y = page.value(
                "(() => { const b = document.querySelector('[data-package=\"0\"] canvas').getBoundingClientRect();"
                " return [b.x + 14, b.y + 3]; })()"
            )
            page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
            tip = page.wait("document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent", "a hint")
            assert "0x10000" in tip and "Package 0, node 0" in tip and "alpha: " in tip, tip
            page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
            if folder := os.environ.get("CLOISTER_SCREENSHOTS"):
                for name, dark, width in (("light", False, 1280), ("dark", True, 1280), ("narrow", False, 900)):
                    page.scheme(dark)
                    page.resize(width, 860)
                    page.wait("new Promise(done => setTimeout(() => done(true), 1500)) && true", "a repaint")
                    page.value("document.body.offsetWidth")
                    page.screenshot(f"{folder}/{name}.png")
                page.resize(1280, 860)

            m.destroy("alpha")
            page.wait("document.querySelectorAll('button.row').length == 1", "that alpha is gone")
            page.wait(f"{COLOURED % 0} == 0", "that its frames are free")
            assert page.value(COLOURED % 1) > 100
            page.wait("document.getElementById('console-name').textContent == 'Console of beta'", "the other's console")

            shut_off(m, page)
            m.kill()
            page.wait("document.getElementById('lost').innerText.includes('cannot be reached')", "that the daemon is gone")
            m.start()
            page.wait("document.getElementById('lost').hidden", "that it is back")
            page.resize(900, 800)
            assert page.value("document.documentElement.scrollWidth <= 900"), "wider than 900 pixels"
        assert page.complaints == [], page.complaints
    finally:
        page.close()
    wait_until(lambda: page.process.poll() is not None, "the browser's end")


@contextmanager
def elsewhere():
    """Another server of this machine; gives its port, and what cookies it was sent."""
    cookies = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            cookies.append(self.headers.get("Cookie"))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title>")

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, cookies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def browsers_token(machine):
    """A browser without the token is asked for it; with it, its cookie goes nowhere else, and comes from nowhere else."""
    if not browser.program():
        raise unittest.SkipTest("Chromium is not installed (apt-get install chromium)")
    m = machine(TWO_PACKAGES)
    page = browser.Browser()
    asked = "document.readyState == 'complete' && document.querySelector('form input[name=token]') !== null"
    live = "document.getElementById('link') !== null && document.getElementById('link').textContent == 'live'"

    def arrive(expression, what):
        """Waits for what is true once the browser is there; on the way it has no answers."""

        def there():
            try:
                return page.value(expression)
            except AssertionError:
                return None

        wait_until(there, what)

    try:
        with elsewhere() as (port, cookies):
            with dashboard(m) as shown:
                page.open(f"http://127.0.0.1:{shown.port}/")
                arrive(asked, "the form")
                for token in ("wrong", shown.token):
                    page.value(f"document.querySelector('input').value = '{token}'; document.querySelector('form').requestSubmit()")
                    arrive("document.body.innerText.includes('not the token')" if token == "wrong" else live, f"the answer to {token}")
                href = page.value("location.href")
                assert re.fullmatch(rf"http://127\.0\.0\.1:{shown.port}/[0-9a-f]{{32}}/", href), href
                assert page.value("document.cookie") == ""

                # Neither this host's other ports nor another site have the cookie.
                page.open(f"http://127.0.0.1:{port}/")
                arrive("document.title == 'elsewhere'", "the other server")
                assert set(cookies) == {None}, cookies
                page.open(f"http://localhost:{port}/")
                arrive("document.title == 'elsewhere' && location.hostname == 'localhost'", "the other site")
                page.value(f"location.href = '{href}'")
                arrive(f"location.href == '{href}' && {asked}", "the form, for a link from elsewhere")

                page.open(shown.address)
                arrive(live, "the page, by the address")
                again = shown.port
            with dashboard(m, port=again):
                arrive(asked, "the next one's form")
    finally:
        page.close()
    wait_until(lambda: page.process.poll() is not None, "the browser's end")


CASES = {"dashboard": forwarding, "dashboard-token": token, "browser": in_browser, "browser-token": browsers_token}
