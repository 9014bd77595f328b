"""Encrypts a code folder step by step as the system that MSE replaces does, with libsodium.

    python encrypt_pynacl.py CODE OUTPUT ARCHIVE     the key as 64 hex digits on standard input

1. CODE is copied to OUTPUT, without what the ignore patterns name.
2. Each file of the copy is read, sealed under a nonce of its own, written as `nonce, tag,
   ciphertext` next to the original, and the original is removed.
3. OUTPUT is packed into ARCHIVE, an uncompressed tar.

Prints one JSON object: `seconds` from the first step to the end of the last, without the start of
the interpreter, `encrypt_seconds` of the second step alone, `cpu_seconds` of all steps, and
`peak_rss_bytes`, the most memory it ever had resident.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import time
from pathlib import Path

from nacl.secret import SecretBox
from nacl.utils import random

CLEAR = {"requirements.txt"}
IGNORED = (
    "mse.toml",
    "secrets.json",
    "secrets_to_seal.json",
    ".mseignore",
    "__pycache__",
    "*.py[cod]",
    ".git*",
    ".vscode/",
    ".idea/",
    "*.egg-info/",
    "*.egg",
    ".venv",
    ".env",
)


def main() -> None:
    code, output, archive = map(Path, sys.argv[1:4])
    box = SecretBox(bytes.fromhex(sys.stdin.read()))
    began, began_cpu = time.monotonic(), time.process_time()
    shutil.copytree(code, output, ignore=shutil.ignore_patterns(*IGNORED))
    copied = time.monotonic()
    encrypt(output, box)
    encrypted = time.monotonic()
    pack(output, archive)
    result = {
        "seconds": time.monotonic() - began,
        "encrypt_seconds": encrypted - copied,
        "cpu_seconds": time.process_time() - began_cpu,
        "peak_rss_bytes": peak_rss_bytes(),
    }
    print(json.dumps(result))


def encrypt(folder: Path, box: SecretBox) -> None:
    for path in list(folder.rglob("*")):
        if not path.is_file() or path.name in CLEAR:
            continue
        nonce = random(SecretBox.NONCE_SIZE)
        sealed = box.encrypt(path.read_bytes(), nonce)
        path.with_name(f"{path.name}.enc").write_bytes(sealed)
        path.unlink()


def pack(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and not any(part.startswith(".") for part in name.parts):
                tar.add(path, arcname=str(name), recursive=False)


def peak_rss_bytes() -> int:
    """The high-water mark of this very program; `getrusage` counts whoever started it as well."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


if __name__ == "__main__":
    main()
