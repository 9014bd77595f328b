"""Writes snp-computed.txt with sev-snp-measure 0.0.13 (PyPI), another implementation.

    python3 -m venv v && v/bin/pip install sev-snp-measure==0.0.13
    v/bin/python snp-computed.py > snp-computed.txt

The image, kernel and initrd are the synthetic ones of tests/common/mod.rs.
"""

import struct
import tempfile
import uuid
from pathlib import Path

from sevsnpmeasure import guest
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vcpu_types import CPU_SIGS
from sevsnpmeasure.vmm_types import VMMType


def filler(length, factor, start):
    return bytes((i * factor + i // 256 * 7 + start) & 0xFF for i in range(length))


def image(pages, entries, sections):
    data = bytearray(filler(pages * 4096, 31, 0))
    table = b""
    for guid, entry in entries + [("96b582de-1fb2-45f7-baea-a366c55a082d", None)]:
        size = len(table) if entry is None else len(entry)
        table += (entry or b"") + struct.pack("<H", size + 18) + uuid.UUID(guid).bytes_le
    end = len(data) - 32
    data[end - len(table) : end] = table
    descriptor = b"ASEV" + struct.pack("<III", 16 + 12 * len(sections), 1, len(sections))
    descriptor += b"".join(struct.pack("<III", *section) for section in sections)
    at = len(data) - 0x800
    data[at : at + len(descriptor)] = descriptor
    return bytes(data)


ENTRIES = [
    ("dc886566-984a-4798-a75e-5585a7bf67cc", struct.pack("<I", 0x800)),
    ("7255371f-3a3b-4b04-927b-1da6efa8d454", struct.pack("<II", 0x810C00, 0x400)),
    ("00f771de-1a7e-4fcb-890e-68c77e2fb44e", struct.pack("<I", 0x80B004)),
]
AMD_SEV = [
    (0x800000, 0x9000, 1),
    (0x80A000, 0x3000, 1),
    (0x80D000, 0x1000, 2),
    (0x80E000, 0x1000, 3),
    (0x80F000, 0x1000, 4),
    (0x810000, 0x1000, 0x10),
    (0x811000, 0xF000, 1),
]

with tempfile.TemporaryDirectory() as folder:
    ovmf, kernel, initrd = (Path(folder) / name for name in ("ovmf", "kernel", "initrd"))
    ovmf.write_bytes(image(5, ENTRIES, AMD_SEV))
    kernel.write_bytes(filler(100_003, 7, 3))
    initrd.write_bytes(filler(65_537, 13, 1))
    print("# Launch measurements by sev-snp-measure 0.0.13, see snp-computed.py.")
    print("# ovmf-hash")
    print("synthetic", guest.calc_snp_ovmf_hash(str(ovmf)).hex())
    print("# cpu, vcpus, vmm, guest features, what is booted, measurement")
    for cpu in ("EPYC-v4", "EPYC-Rome", "EPYC-Milan", "EPYC-Genoa", "EPYC-Turin"):
        for vcpus in (1, 2, 64):
            for vmm in (VMMType.QEMU, VMMType.ec2, VMMType.gce):
                for booted, features in (("none", 0x1), ("all", 0x21)):
                    if cpu == "EPYC-Turin" and booted == "all":
                        booted = "kernel"
                    digest = guest.calc_launch_digest(
                        SevMode.SEV_SNP,
                        vcpus,
                        CPU_SIGS[cpu],
                        str(ovmf),
                        None if booted == "none" else str(kernel),
                        str(initrd) if booted == "all" else None,
                        "root=/dev/vda ro" if booted == "all" else None,
                        features,
                        vmm_type=vmm,
                    )
                    print(cpu, vcpus, vmm.name.lower(), hex(features), booted, digest.hex())
