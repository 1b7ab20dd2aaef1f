"""Test double of the Hugging Face Hub."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NEWEST = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Test double of the Hugging Face Hub that serves one folder for every id and revision.

    With broken, the first answer with weights breaks off in the middle, and later ones fail.
    """

    daemon_threads = True

    def __init__(self, folder, broken):
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder, self.broken, self.asked = folder, broken, []

    @property
    def files_asked(self):
        """Return the requests for files of a repository, without the client's other requests."""
        return {(method, path) for method, path in self.asked if "/resolve/" in path}

    def environment(self, home):
        """Return an environment in which the Hub's client uses this server, with an empty cache."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        endpoint = f"http://127.0.0.1:{self.server_port}"
        patience = dict.fromkeys(("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"), "60")  # seconds, not 10
        own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1"}
        return {**inherited, **own, **patience}


class Answer(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._answer(whole=False)

    def do_GET(self):
        self._answer(whole=True)

    def _answer(self, *, whole):
        self.server.asked.append((self.command, self.path))
        if "/resolve/" not in self.path:
            self.send_error(404)
            return
        *_, revision, file = self.path.split("/")
        content = (self.server.folder / file).read_bytes()
        breaks = whole and self.server.broken and file == "model.safetensors"
        if breaks and self.server.asked.count((self.command, self.path)) > 1:
            self.send_error(500)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", NEWEST if revision == "main" else revision)
        self.end_headers()
        if whole:
            self.wfile.write(content[: len(content) // 2] if breaks else content)

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(folder: Path, *, broken: bool = False) -> Iterator[Hub]:
    with Hub(folder, broken) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def download(hub, tmp_path, *arguments):
    """Run the command with the Hub's real client against the double."""
    (tmp_path / "here").mkdir()
    return subprocess.run(
        [sys.executable, "-m", "autogaze_ros.cli", "checkpoint", "download", *arguments],
        cwd=tmp_path / "here", env=hub.environment(tmp_path / "home"), capture_output=True, text=True,
    )  # fmt: skip
