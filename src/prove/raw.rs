//! System calls that no safe function makes: a tiny program of nothing but
//! them, built here, and run as a child. An agent would compile one.
//!
//! It is not a way to do something in Denizen: only the adversary uses it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the code is in memory.
const CODE: u64 = 0x40_0000;

/// Where the data is, below 4 GiB as the old gate needs it.
const DATA: u64 = 0x1000_0000;

/// Where the results are, after the data.
const RESULTS: u64 = 0x10_0000;

/// Code and data lie in pages of their own, so that no page is both writable
/// and executable.
const PAGE: usize = 0x1000;

/// How a number in an argument is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum ArgValue {
    /// Now.
    Number(u64),
    /// At this place in the data.
    Data(usize),
    /// What the call of this number gives.
    Result(usize),
}

impl From<u64> for ArgValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for ArgValue {
    fn from(number: i32) -> Self {
        Self::Number(i64::from(number).cast_unsigned())
    }
}

impl From<u32> for ArgValue {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for ArgValue {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl ArgValue {
    /// The number itself, or where in memory it will be.
    fn address(self) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Data(at) => DATA + at as u64,
            Self::Result(call) => DATA + RESULTS + 8 * call as u64,
        }
    }
}

/// The way into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// `syscall`, with the numbers of 64 bits.
    Native,
    /// `int 0x80`, with the numbers of 32 bits.
    Old,
}

#[derive(Debug)]
struct RawCall {
    gate: Gate,
    number: u64,
    args: Vec<ArgValue>,
    may_fail: bool,
}

/// A program that makes system calls in order, and ends at the first that fails.
#[derive(Debug, Default)]
pub(super) struct CallProgram {
    calls: Vec<RawCall>,
    data: Vec<u8>,
}

impl CallProgram {
    /// Bytes that the calls may read and write; aligned to eight.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> ArgValue {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let at = self.data.len();
        self.data.extend_from_slice(bytes);
        ArgValue::Data(at)
    }

    /// A text that ends with zero.
    pub(super) fn text(&mut self, text: &[u8]) -> ArgValue {
        self.bytes(&[text, b"\0"].concat())
    }

    /// A path.
    pub(super) fn path(&mut self, path: &Path) -> ArgValue {
        self.text(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))
    }

    /// So many zeros.
    pub(super) fn space(&mut self, size: usize) -> ArgValue {
        self.bytes(&vec![0; size])
    }

    /// Numbers of 64 bits in a row; places in the data become addresses.
    pub(super) fn words(&mut self, words: &[ArgValue]) -> ArgValue {
        let numbers: Vec<u8> = words.iter().flat_map(|word| word.address().to_le_bytes()).collect();
        self.bytes(&numbers)
    }

    /// A call; what it gives can be an argument of later ones.
    pub(super) fn call(&mut self, number: i64, args: &[ArgValue]) -> ArgValue {
        self.add(Gate::Native, number.cast_unsigned(), args, false)
    }

    /// A call whose failure does not end the program.
    pub(super) fn try_call(&mut self, number: i64, args: &[ArgValue]) -> ArgValue {
        self.add(Gate::Native, number.cast_unsigned(), args, true)
    }

    /// A call by the gate for programs of 32 bits.
    pub(super) fn old_call(&mut self, number: u64, args: &[ArgValue]) -> ArgValue {
        self.add(Gate::Old, number, args, false)
    }

    fn add(&mut self, gate: Gate, number: u64, args: &[ArgValue], may_fail: bool) -> ArgValue {
        self.calls.push(RawCall { gate, number, args: args.to_vec(), may_fail });
        ArgValue::Result(self.calls.len() - 1)
    }

    /// Prints bytes.
    pub(super) fn print(&mut self, from: ArgValue, count: impl Into<ArgValue>) {
        self.call(libc::SYS_write, &[1.into(), from, count.into()]);
    }

    /// Runs it with a file of its own in `dir`; gives what it printed.
    ///
    /// # Errors
    /// The error of the first call that failed.
    #[expect(clippy::disallowed_methods, reason = "what the adversary starts is no child of a session")]
    pub(super) fn run(&self, dir: &Path, input: &[u8]) -> io::Result<Vec<u8>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !cfg!(target_arch = "x86_64") {
            let reason = "raw system calls are only built for x86-64";
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        }
        let path = dir.join(format!(".raw-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path)?.write_all(&self.build())?;
        let started = Command::new(&path)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .and_then(|mut child| {
                if let Some(mut stdin) = child.stdin.take() {
                    // It may end without reading.
                    let _written = stdin.write_all(input);
                }
                child.wait_with_output()
            });
        std::fs::remove_file(&path)?;
        let output = started?;
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => Ok(output.stdout),
            (Some(errno), _) => Err(io::Error::from_raw_os_error(errno)),
            (None, signal) => Err(io::Error::other(format!("killed by signal {}", signal.unwrap_or(0)))),
        }
    }

    /// The program as an ELF file.
    fn build(&self) -> Vec<u8> {
        let code = self.code();
        let data_at = (PAGE + code.len()).next_multiple_of(PAGE);
        let mut file = self.header(code.len(), data_at);
        file.resize(PAGE, 0);
        file.extend(code);
        file.resize(data_at, 0);
        file.extend(&self.data);
        file
    }

    fn code(&self) -> Vec<u8> {
        let mut code = Vec::new();
        let mut jumps = Vec::new();
        for (index, call) in self.calls.iter().enumerate() {
            let loads: &[(u8, u8, u8)] = match call.gate {
                // rdi, rsi, rdx, r10, r8, r9: prefix and opcode of `mov reg, imm64`, operand of `mov reg, rax`.
                Gate::Native => &[
                    (0x48, 0xbf, 0xc7),
                    (0x48, 0xbe, 0xc6),
                    (0x48, 0xba, 0xc2),
                    (0x49, 0xba, 0xc2),
                    (0x49, 0xb8, 0xc0),
                    (0x49, 0xb9, 0xc1),
                ],
                // rbx, rcx, rdx, rsi, rdi, rbp
                Gate::Old => &[
                    (0x48, 0xbb, 0xc3),
                    (0x48, 0xb9, 0xc1),
                    (0x48, 0xba, 0xc2),
                    (0x48, 0xbe, 0xc6),
                    (0x48, 0xbf, 0xc7),
                    (0x48, 0xbd, 0xc5),
                ],
            };
            for (arg, (prefix, load, copy)) in call.args.iter().zip(loads) {
                if let ArgValue::Result(_) = arg {
                    // mov rax, [address]; mov reg, rax
                    code.extend([0x48, 0xa1]);
                    code.extend(arg.address().to_le_bytes());
                    code.extend([*prefix, 0x89, *copy]);
                } else {
                    code.extend([*prefix, *load]);
                    code.extend(arg.address().to_le_bytes());
                }
            }
            // mov rax, number
            code.extend([0x48, 0xb8]);
            code.extend(call.number.to_le_bytes());
            code.extend(if call.gate == Gate::Native { [0x0f, 0x05] } else { [0xcd, 0x80] });
            // mov [address], rax
            code.extend([0x48, 0xa3]);
            code.extend(ArgValue::Result(index).address().to_le_bytes());
            if !call.may_fail {
                // cmp rax, -4095; jae failed
                code.extend([0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0x0f, 0x83, 0, 0, 0, 0]);
                jumps.push(code.len());
            }
        }
        // xor eax, eax
        code.extend([0x31, 0xc0]);
        let failed = code.len();
        // failed: neg eax; mov edi, eax; mov eax, exit_group; syscall
        code.extend([0xf7, 0xd8, 0x89, 0xc7, 0xb8]);
        code.extend(231_u32.to_le_bytes());
        code.extend([0x0f, 0x05]);
        for jump in jumps {
            let distance = u32::try_from(failed - jump).unwrap_or(0);
            code[jump - 4..jump].copy_from_slice(&distance.to_le_bytes());
        }
        code
    }

    /// The ELF header, and two segments: code to run, data to write.
    fn header(&self, code: usize, data_at: usize) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        // An executable, for x86-64, version 1.
        file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
        file.extend((CODE).to_le_bytes());
        file.extend(64_u64.to_le_bytes());
        file.extend([0; 12]);
        for half in [64_u16, 56, 2, 0, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let memory = RESULTS + 8 * self.calls.len() as u64;
        for (flags, offset, address, in_file, in_memory) in [
            (5_u32, PAGE as u64, CODE, code as u64, code as u64),
            (6, data_at as u64, DATA, self.data.len() as u64, memory),
        ] {
            file.extend(1_u32.to_le_bytes());
            file.extend(flags.to_le_bytes());
            for word in [offset, address, address, in_file, in_memory, PAGE as u64] {
                file.extend(word.to_le_bytes());
            }
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_calls_runs() {
        let dir = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("somewhere", dir.path().join("link")).expect("a link");
        let mut program = CallProgram::default();
        let (path, buffer) = (program.path(Path::new("link")), program.space(64));
        program.try_call(libc::SYS_close, &[99.into()]);
        let length = program.call(libc::SYS_readlink, &[path, buffer, 64.into()]);
        program.print(buffer, length);
        assert_eq!(program.run(dir.path(), b"").expect("run"), b"somewhere");

        let mut copy = CallProgram::default();
        let buffer = copy.space(8);
        let length = copy.call(libc::SYS_read, &[0.into(), buffer, 8.into()]);
        copy.print(buffer, length);
        assert_eq!(copy.run(dir.path(), b"input").expect("run"), b"input");

        let mut failing = CallProgram::default();
        failing.call(libc::SYS_close, &[99.into()]);
        failing.call(libc::SYS_kill, &[1.into(), 1000.into()]);
        let error = failing.run(dir.path(), b"").expect_err("no such descriptor");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
