# SPDX-License-Identifier: Apache-2.0
"""Talking to a program that holds one index and obeys commands.

Each index lives in a process of its own, so that its memory can be told and libraries do not meet each other's threads.
Commands are lines `verb name=value ...`; the answer is a line of JSON, followed by as many bytes as its "bytes" says.
The programs are peer.py, for the libraries compared with, and ann-engine, for VexFS.
"""

import json
import os
import subprocess

import numpy as np

ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
}


class Refused(Exception):
    """The program answered with an error."""


class Worker:
    """A running program."""

    def __init__(self, argv, log):
        self.name = os.path.basename(argv[-1])
        self.process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | ONE_THREAD,
        )

    def ask(self, verb, **options):
        """Sends a command and returns the answer; the bytes that follow it are under "data"."""
        words = [verb] + [f"{name}={value}" for name, value in options.items() if value is not None]
        if any(" " in word or "\n" in word for word in words):
            raise SystemExit(f"a blank in {words}: use paths without blanks")
        try:
            self.process.stdin.write((" ".join(words) + "\n").encode())
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise Refused(f"{self.name} ended with status {self.process.wait()} during: {' '.join(words)}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(f"{' '.join(words)}: {answer['error']}")
        if answer.get("bytes"):
            answer["data"] = self.process.stdout.read(answer["bytes"])
        return answer

    def search(self, k, **options):
        """Runs all queries. Returns the answer and the row numbers found, a line a query, -1 where there is none."""
        answer = self.ask("search", k=k, **options)
        found = np.frombuffer(answer.pop("data", b""), "<i4").reshape(-1, k)
        return answer, found

    def close(self):
        """Ends the program."""
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
