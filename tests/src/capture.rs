//! What was on a network, recorded by `tcpdump`: the bytes of each TCP connection, in order.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A recording that goes on.
pub struct Recording {
    file: PathBuf,
    tcpdump: Child,
}

/// One direction of a connection: address and port of who sent, and of who received.
pub type Direction = ((IpAddr, u16), (IpAddr, u16));

impl Recording {
    /// Records the loopback interface that `tcpdump` sees.
    pub fn start(mut tcpdump: Command, file: &Path) -> Self {
        let said = file.with_extension("said");
        let tcpdump = tcpdump
            // As the user who may write the file; whole packets, and a buffer for all of them.
            .args([
                "-i", "lo", "-U", "-Z", "root", "-B", "65536", "-s", "0", "-w",
            ])
            .arg(file)
            .arg("tcp")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said).expect("a file for what tcpdump says"))
            .spawn()
            .expect("`tcpdump` is installed by ./x setup");
        let mut recording = Self {
            file: file.to_owned(),
            tcpdump,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !fs::read_to_string(&said).is_ok_and(|said| said.contains("listening on")) {
            let ended = recording.tcpdump.try_wait().expect("a process");
            assert!(ended.is_none(), "tcpdump ended: {ended:?}");
            assert!(Instant::now() < deadline, "tcpdump does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        recording
    }

    /// Ends it, and gives the bytes of each direction of each connection.
    pub fn finish(mut self) -> Vec<(Direction, Vec<u8>)> {
        let pid = nix::unistd::Pid::from_raw(self.tcpdump.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("tcpdump runs");
        self.tcpdump.wait().expect("tcpdump ends");
        let said = fs::read_to_string(self.file.with_extension("said")).expect("what it said");
        assert!(said.contains("\n0 packets dropped by kernel"), "{said}");
        streams(&fs::read(&self.file).expect("the recording"))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// A direction that is being put together.
#[derive(Default)]
struct Stream {
    /// The number of the first byte, once the SYN was seen.
    first: Option<u32>,
    bytes: Vec<u8>,
}

/// Reads a recording in the format of pcap, of Ethernet. Everything must have been seen from the
/// first packet of a connection on, and in order, as on a loopback interface.
fn streams(recording: &[u8]) -> Vec<(Direction, Vec<u8>)> {
    let number = |at: usize| u32::from_le_bytes(recording[at..at + 4].try_into().expect("4"));
    assert_eq!(number(0), 0xa1b2_c3d4, "pcap, in the order of this machine");
    assert_eq!(number(20), 1, "Ethernet");
    let mut open: BTreeMap<Direction, Stream> = BTreeMap::new();
    let mut done = Vec::new();
    let mut at = 24;
    while at + 16 <= recording.len() {
        let (kept, whole) = (number(at + 8) as usize, number(at + 12) as usize);
        assert_eq!(kept, whole, "packets are whole");
        let packet = &recording[at + 16..at + 16 + kept];
        at += 16 + kept;
        let Some((direction, sequence, is_syn, payload)) = segment(packet) else {
            continue;
        };
        if is_syn {
            // The port is used again.
            if let Some(before) = open.remove(&direction) {
                done.push((direction, before.bytes));
            }
            let stream = open.entry(direction).or_default();
            stream.first = Some(sequence.wrapping_add(1));
            continue;
        }
        if payload.is_empty() {
            continue;
        }
        let stream = open.entry(direction).or_default();
        let first = stream.first.expect("recorded from the beginning");
        let offset = sequence.wrapping_sub(first) as usize;
        // Some or all of it may have been sent before.
        let known = stream.bytes.len();
        assert!(offset <= known, "a segment is missing before byte {offset}");
        if offset + payload.len() > known {
            stream.bytes.extend_from_slice(&payload[known - offset..]);
        }
    }
    done.extend(open.into_iter().map(|(to, stream)| (to, stream.bytes)));
    done
}

/// Direction, number, whether it is a SYN, and what is in it; `None` for what is no TCP.
fn segment(packet: &[u8]) -> Option<(Direction, u32, bool, &[u8])> {
    let two = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let ip = packet.get(14..)?;
    let (from, to, tcp): (IpAddr, IpAddr, &[u8]) = match two(packet, 12) {
        0x0800 if ip[9] == 6 => {
            let header = usize::from(ip[0] & 15) * 4;
            // 0 is what large segments of a loopback interface may say.
            let length = match usize::from(two(ip, 2)) {
                0 => ip.len(),
                length => length,
            };
            let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).expect("4");
            (
                address(12).into(),
                address(16).into(),
                &ip[header..length.min(ip.len())],
            )
        }
        0x86dd if ip[6] == 6 => {
            let address = |at: usize| <[u8; 16]>::try_from(&ip[at..at + 16]).expect("16");
            (address(8).into(), address(24).into(), &ip[40..])
        }
        _ => return None,
    };
    let sequence = u32::from_be_bytes(tcp[4..8].try_into().expect("4"));
    let header = usize::from(tcp[12] >> 4) * 4;
    let direction = ((from, two(tcp, 0)), (to, two(tcp, 2)));
    Some((direction, sequence, tcp[13] & 2 != 0, &tcp[header..]))
}

/// The types of the TLS records that `bytes` are, and nothing else; the last may be cut.
pub fn tls_records(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut types = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let start = &rest[..rest.len().min(16)];
        let is_record = (20..=23).contains(&rest[0])
            && rest.get(1).is_none_or(|major| *major == 3)
            && rest.get(2).is_none_or(|minor| matches!(minor, 1 | 3));
        if !is_record {
            return Err(format!(
                "after {} records comes no TLS: {start:02x?}",
                types.len()
            ));
        }
        types.push(rest[0]);
        let Some(length) = rest.get(3..5) else { break };
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length > 16384 + 256 {
            return Err(format!("a record of {length} bytes: {start:02x?}"));
        }
        rest = rest.get(5 + length..).unwrap_or_default();
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_other_bytes() {
        let hello = [22, 3, 1, 0, 2, 9, 9, 23, 3, 3, 0, 1, 7];
        assert_eq!(tls_records(&hello).unwrap(), [22, 23]);
        assert_eq!(tls_records(&hello[..11]).unwrap(), [22, 23], "cut");
        for other in [
            &b"GET / HTTP/1.1"[..],
            b"*2\r\n$4\r\nAUTH",
            &[22, 3, 3, 0xff, 0xff],
        ] {
            assert!(tls_records(other).is_err(), "{other:?}");
        }
        assert!(tls_records(&[&hello[..], b"+OK"].concat()).is_err());
    }
}
