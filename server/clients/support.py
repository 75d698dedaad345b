"""What the tests of the Python clients share. build/clients.sh starts the servers and sets the environment."""

import contextlib
import json
import os
import socket
import subprocess
import unittest
from urllib.parse import urlsplit

URL = os.environ["VKBERT_URL"]  # the models tiny, classes and rerank, without an API key
LIMITED_URL = os.environ["VKBERT_LIMITED_URL"]  # tiny with KEY, one request at a time, 4 texts and 4096 bytes a request
KEY = os.environ["VKBERT_KEY"]
TINY = os.environ["VKBERT_TINY"]  # the models' directories
CLASSES = os.environ["VKBERT_CLASSES"]

TEXTS = ["the cat", "dog", "Who made this?", 'Zürich, "quoted"\nand a second line', "the cat " * 30]
TOO_MANY = ["a"] * 5
TOO_LARGE = "a" * 5000


def vkbert(command, *args, texts=()):
    """Runs the command on texts and returns its standard output."""
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    run = subprocess.run([os.environ["VKBERT"], command, "--input-format", "jsonl", *args], input=lines, stdout=subprocess.PIPE, check=True, text=True)
    return run.stdout


def library(texts, dimensions=None):
    """The library's vectors, cut and of unit length again where dimensions are given."""
    vectors = [json.loads(line)["embedding"][:dimensions] for line in vkbert("embed", "-m", TINY, "--device", "cpu", texts=texts).splitlines()]
    return [unit(v) for v in vectors]


def unit(v):
    norm = sum(x * x for x in v) ** 0.5
    return [x / norm for x in v]


def token_ids(texts):
    return [json.loads(line)["ids"] for line in vkbert("tokenize", "-m", TINY, texts=texts).splitlines()]


@contextlib.contextmanager
def busy():
    """Keeps the limited server's one place taken by a request whose body does not end, until the block does."""
    address = urlsplit(LIMITED_URL)
    with socket.create_connection((address.hostname, address.port), timeout=30) as s:
        body = b'{"inputs":"a"}'
        head = f"POST /embed HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        s.sendall(head.encode())
        reader = s.makefile("rb")
        assert b" 100 " in reader.readline()  # it reads the body: the request has its place
        yield
        s.sendall(body)
        answer = reader.read()
        assert b" 200 OK" in answer, answer


class TestCase(unittest.TestCase):
    def assert_near(self, want, got):
        """Vectors or lists of them are equal within 1e-6."""
        self.assertEqual(len(want), len(got))
        for w, g in zip(want, got):
            if isinstance(w, list):
                self.assert_near(w, list(g))
            else:
                self.assertAlmostEqual(w, g, delta=1e-6)
