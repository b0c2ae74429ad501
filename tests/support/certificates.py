"""Certificates that the tests make for themselves, with openssl: an authority's and a server's."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificates(NamedTuple):
    """Files in PEM."""

    authority: Path
    certificate: Path
    key: Path


def make(folder: Path) -> Certificates:
    """An authority, and a server of 127.0.0.1 that it vouches for."""
    paths = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server-key.pem")
    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid", "ascii")
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl(
        *new, "-x509", "-days", "2", "-subj", "/CN=test authority",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",  # Python 3.13 wants it
        "-keyout", folder / "ca-key.pem", "-out", paths.authority,
    )  # fmt: skip
    _openssl(*new, "-subj", "/CN=127.0.0.1", "-keyout", paths.key, "-out", folder / "server.csr")
    _openssl(
        "x509", "-req", "-days", "2", "-in", folder / "server.csr", "-extfile", names,
        "-CA", paths.authority, "-CAkey", folder / "ca-key.pem", "-CAcreateserial",
        "-out", paths.certificate,
    )  # fmt: skip
    return paths


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True)
