"""Signatures of libraries, by the ssh keys that a team has: `ssh-keygen -Y` signs the hash of all files.

Who is allowed to sign stands in a file of ssh's form, which alignkit.toml names; then an unsigned library is refused.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from alignkit.errors import LibraryError, printable, shown
from alignkit.libraries.content import SIGNATURE, Content, hashes_of, tree_of

NAMESPACE: Final = "alignkit-library"
"""Keeps a signature of a library from passing for one of anything else."""


def sign(content: Content, key: Path, where: str) -> bytes:
    """The signature of a library's files by a private key.

    Raises:
        LibraryError: ssh-keygen is missing or cannot sign with it.
    """
    with tempfile.TemporaryDirectory(prefix="alignkit-sign-") as folder:
        signed = Path(folder, "tree")
        signed.write_bytes(_signed(content))
        _ssh_keygen(["-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(signed)], where)
        return signed.with_name("tree.sig").read_bytes()


def signer_of(content: Content, allowed: Path, where: str) -> str:
    """Who signed a library, of those that are allowed to.

    Args:
        content: its files, the signature among them.
        allowed: file of ssh's form, a principal and a public key a line.
        where: what messages begin with.

    Raises:
        LibraryError: it is not signed, by nobody who is allowed, or its files are others than those that were signed.
    """
    if not allowed.is_file():
        raise LibraryError(f"allowed_signers: there is no file {shown(str(allowed))}")
    if SIGNATURE not in content:
        raise LibraryError(f"{where}: not signed, and allowed_signers is set: its author runs 'alignkit library sign'")
    with tempfile.TemporaryDirectory(prefix="alignkit-sign-") as folder:
        signature = Path(folder, SIGNATURE)
        signature.write_bytes(content[SIGNATURE])
        found = _ssh_keygen(["-Y", "find-principals", "-s", str(signature), "-f", str(allowed)], where, b"", _UNKNOWN)
        signer = found.decode("utf-8", "replace").splitlines()[0].strip()
        command = ["-Y", "verify", "-f", str(allowed), "-I", signer, "-n", NAMESPACE, "-s", str(signature)]
        _ssh_keygen(command, where, _signed(content), _OTHERS)
    return printable(signer)


_UNKNOWN: Final = "signed by nobody whom allowed_signers names"
_OTHERS: Final = "its files are not those that were signed"


def _signed(content: Content) -> bytes:
    """What the signature is over: the hash of all other files."""
    return tree_of(hashes_of({path: text for path, text in content.items() if path != SIGNATURE})).encode()


def _ssh_keygen(arguments: Sequence[str], where: str, given: bytes = b"", failed: str = "") -> bytes:
    """What it prints; `failed` is what its failure means, its own words by default."""
    try:
        done = subprocess.run(["ssh-keygen", *arguments], input=given, capture_output=True, check=False, timeout=60)
    except FileNotFoundError:
        raise LibraryError(f"{where}: there is no program ssh-keygen here, which checks signatures") from None
    except subprocess.TimeoutExpired:
        raise LibraryError(f"{where}: ssh-keygen waited for a minute and was stopped") from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["ssh-keygen failed"]
        raise LibraryError(f"{where}: {failed or printable(lines[-1])}")
    return done.stdout
