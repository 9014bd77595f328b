//! The registers of a virtual CPU at reset, as the page that is measured.
//!
//! The layout is the VM save area of the *AMD64 Architecture Programmer's Manual, volume 2*, table
//! B-4. The values are those of a processor after INIT (table 14-1 there) as KVM and the
//! hypervisors set them.

use super::{CpuSignature, GuestFeatures, Vmm};
use crate::PAGE;

/// The VMSA page of a virtual CPU that starts at `reset`: 0xfffffff0 for the first one, the
/// firmware's address for the others.
pub fn vmsa_page(reset: u32, vmm: Vmm, cpu: CpuSignature, features: GuestFeatures) -> [u8; PAGE] {
    let registers = Registers::of(vmm, reset == super::BOOT_CPU_RESET, cpu);
    let mut page = Page([0; PAGE]);
    for segment in [ES, DS, FS, GS] {
        page.segment(segment, 0, 0x93, 0);
    }
    page.segment(CS, 0xf000, registers.cs, u64::from(reset & 0xffff_0000));
    page.segment(SS, 0, registers.ss, 0);
    page.segment(GDTR, 0, 0, 0);
    page.segment(LDTR, 0, 0x82, 0);
    page.segment(IDTR, 0, 0, 0);
    page.segment(TR, 0, registers.tr, 0);
    page.put(EFER, 0x1000); // SVME, without which no VMSA is accepted
    page.put(CR4, 0x40); // machine checks
    page.put(CR0, 0x10);
    page.put(DR7, 0x400);
    page.put(DR6, 0xffff_0ff0);
    page.put(RFLAGS, 0x2);
    page.put(RIP, u64::from(reset & 0xffff));
    page.put(G_PAT, registers.g_pat);
    page.put(RDX, registers.rdx);
    page.put(SEV_FEATURES, features.0);
    page.put(XCR0, 0x1);
    page.bytes(MXCSR, &registers.mxcsr.to_le_bytes());
    page.bytes(X87_FCW, &registers.x87_fcw.to_le_bytes());
    page.0
}

/// Where hypervisors differ.
struct Registers {
    /// Attributes of segments, as a VMCB packs them.
    cs: u16,
    ss: u16,
    tr: u16,
    g_pat: u64,
    rdx: u64,
    mxcsr: u32,
    x87_fcw: u16,
}

impl Registers {
    fn of(vmm: Vmm, boot_cpu: bool, cpu: CpuSignature) -> Self {
        let qemu = Self {
            cs: 0x9b,
            ss: 0x93,
            tr: 0x8b,
            g_pat: 0x0007_0406_0007_0406,
            rdx: u64::from(cpu.0),
            mxcsr: 0x1f80,
            x87_fcw: 0x37f,
        };
        match vmm {
            Vmm::Qemu => qemu,
            Vmm::Ec2 | Vmm::Ec2ZeroRdx => Self {
                cs: if boot_cpu { 0x9a } else { 0x9b },
                ss: 0x92,
                tr: 0x83,
                rdx: if vmm == Vmm::Ec2 { 0x600 } else { 0 },
                mxcsr: 0,
                x87_fcw: 0,
                ..qemu
            },
            Vmm::Gce => Self {
                g_pat: 0x0007_0106,
                rdx: 0x600,
                mxcsr: 0,
                x87_fcw: 0,
                ..qemu
            },
        }
    }
}

const ES: usize = 0x00;
const CS: usize = 0x10;
const SS: usize = 0x20;
const DS: usize = 0x30;
const FS: usize = 0x40;
const GS: usize = 0x50;
const GDTR: usize = 0x60;
const LDTR: usize = 0x70;
const IDTR: usize = 0x80;
const TR: usize = 0x90;
const EFER: usize = 0xd0;
const CR4: usize = 0x148;
const CR0: usize = 0x158;
const DR7: usize = 0x160;
const DR6: usize = 0x168;
const RFLAGS: usize = 0x170;
const RIP: usize = 0x178;
const G_PAT: usize = 0x268;
const RDX: usize = 0x310;
const SEV_FEATURES: usize = 0x3b0;
const XCR0: usize = 0x3e8;
const MXCSR: usize = 0x408;
const X87_FCW: usize = 0x410;

struct Page([u8; PAGE]);

impl Page {
    fn put(&mut self, at: usize, value: u64) {
        self.bytes(at, &value.to_le_bytes());
    }

    /// Selector (2 bytes), attributes (2), limit (4), base (8). All limits are 64 KiB at reset.
    fn segment(&mut self, at: usize, selector: u16, attributes: u16, base: u64) {
        self.bytes(at, &selector.to_le_bytes());
        self.bytes(at + 2, &attributes.to_le_bytes());
        self.bytes(at + 4, &0xffff_u32.to_le_bytes());
        self.put(at + 8, base);
    }

    fn bytes(&mut self, at: usize, bytes: &[u8]) {
        for (to, from) in self.0.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }
}
