//! The processes of the machine and how their code is signed.

use super::socket::File;
use std::collections::BTreeSet;

/// `kSecCodeStatusValid`: the kernel holds the running code for intact (`Security/CSCommon.h`).
pub const STATUS_VALID: u32 = 0x0000_0001;
/// `kSecCodeStatusPlatform`: the running code is part of macOS (`Security/CSCommon.h`).
pub const STATUS_PLATFORM: u32 = 0x0400_0000;
/// `kSecCodeSignatureAdhoc`: signed, but by nobody (`Security/CSCommon.h`).
pub const FLAG_ADHOC: u32 = 0x0002;
/// `kSecCodeSignatureRuntime`: the hardened runtime (`Security/CSCommon.h`).
pub const FLAG_RUNTIME: u32 = 0x0001_0000;

/// One process. Everything can be changed before it is [added](super::add) and, with
/// [`change`](super::change), after.
#[derive(Clone, Debug)]
pub struct Process {
    /// The process id.
    pub pid: i32,
    /// The kernel's counter of program images, which a fork and an exec each take anew.
    /// Zero: the machine gives the next one.
    pub version: u32,
    /// The parent's process id.
    pub parent: i32,
    /// The user at login (`auid`), which `sudo` does not change.
    pub login_user: u32,
    /// The user whose rights the process has (`euid`): what the same-user check compares.
    pub effective_user: u32,
    /// The effective group.
    pub effective_group: u32,
    /// The user who started it (`ruid`).
    pub real_user: u32,
    /// The group that started it.
    pub real_group: u32,
    /// The audit session.
    pub session: u32,
    /// The name of the program, of which the kernel keeps 15 bytes in one place and 31 in another.
    pub name: String,
    /// The path of the executable; `None` if there is none, as for the kernel.
    pub path: Option<String>,
    /// The executable has been deleted: asking for its path or its code fails with `ENOENT`. The
    /// kernel says `ESRCH` instead where it cannot put the path together any more
    /// (`bsd/kern/proc_info.c`, `proc_pidpathinfo_internal`); a [rule](super::on) can do that.
    pub deleted: bool,
    /// When it was started: seconds since 1970 and microseconds.
    pub started: (u64, u32),
    /// The arguments, the first of which is the program's name by custom.
    pub arguments: Vec<Vec<u8>>,
    /// The environment, which is not handed out for a restricted process.
    pub environment: Vec<Vec<u8>>,
    /// `CS_RESTRICT`: the kernel leaves the environment out.
    pub restricted: bool,
    /// It has ended and its parent has not asked how: listed, and else as good as gone.
    pub zombie: bool,
    /// How its code is signed.
    pub code: Code,
    /// What it holds open.
    pub files: Vec<File>,
}

impl Process {
    /// A program of user 501 that `launchd` started, with an unremarkable valid signature.
    pub fn new(pid: i32) -> Self {
        Self {
            pid,
            version: 0,
            parent: 1,
            login_user: 501,
            effective_user: 501,
            effective_group: 20,
            real_user: 501,
            real_group: 20,
            session: 100_003,
            name: format!("program-{pid}"),
            path: Some(format!("/usr/local/bin/program-{pid}")),
            deleted: false,
            started: (1_700_000_000 + u64::from(pid.unsigned_abs()), 250_000),
            arguments: vec![format!("program-{pid}").into_bytes()],
            environment: vec![b"HOME=/Users/anna".to_vec(), b"TOKEN=hunter2".to_vec()],
            restricted: false,
            zombie: false,
            code: Code::signed("com.example.program", "ABCDE12345"),
            files: Vec::new(),
        }
    }

    /// With another executable, whose last component becomes its name and first argument.
    pub fn at(mut self, path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.name = name.to_owned();
        self.arguments = vec![name.as_bytes().to_vec()];
        self.path = Some(path.to_owned());
        self
    }

    /// With another parent.
    pub fn child_of(mut self, parent: i32) -> Self {
        self.parent = parent;
        self
    }

    /// With a given counter of program images.
    pub fn with_version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Of another user, who also logged in and started it.
    pub fn of_user(mut self, user: u32, group: u32) -> Self {
        (self.login_user, self.effective_user, self.real_user) = (user, user, user);
        (self.effective_group, self.real_group) = (group, group);
        self
    }

    /// With other arguments.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments
            .iter()
            .map(|argument| argument.as_bytes().to_vec())
            .collect();
        self
    }

    /// With another signature.
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// Holding one more thing open, under the next free descriptor from 3 on.
    pub fn holding(mut self, file: impl Into<super::FileKind>) -> Self {
        let taken: BTreeSet<i32> = self.files.iter().map(|file| file.descriptor).collect();
        let descriptor = (3..)
            .find(|descriptor| !taken.contains(descriptor))
            .unwrap_or(3);
        self.files.push(File {
            descriptor,
            kind: file.into(),
        });
        self
    }

    /// Its audit token as the kernel makes it (`bsd/kern/kern_prot.c`, `proc_calc_audit_token`).
    pub fn token(&self) -> [u8; 32] {
        let words = [
            self.login_user,
            self.effective_user,
            self.effective_group,
            self.real_user,
            self.real_group,
            self.pid.cast_unsigned(),
            self.session,
            self.version,
        ];
        let mut token = [0; 32];
        for (place, word) in token.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        token
    }
}

/// What the Security framework has to say about a process.
#[derive(Clone, Debug)]
pub struct Code {
    /// The answer to `SecCodeCopyGuestWithAttributes`, an `OSStatus`: 0 is success.
    pub guest: i32,
    /// The answer to `SecCodeCopySigningInformation`.
    pub information: i32,
    /// The answer to `SecCodeCheckValidity`, if the code still runs.
    pub validity: i32,
    /// The signing identifier; `None` for unsigned code.
    pub identifier: Option<String>,
    /// The team, which only certificates of a team bring.
    pub team: Option<String>,
    /// The hash of the code directory, cut to 20 bytes.
    pub cdhash: Option<Vec<u8>>,
    /// The platform number: not zero for what came with macOS.
    pub platform: u32,
    /// The flags of the code directory.
    pub flags: u32,
    /// The dynamic status.
    pub status: u32,
    /// The path `SecCodeCopyPath` answers with, where it is not the executable: an application's
    /// bundle.
    pub bundle: Option<String>,
    /// The requirements it meets, in the words the caller uses.
    pub requirements: BTreeSet<String>,
}

impl Code {
    /// Signed by a team.
    pub fn signed(identifier: &str, team: &str) -> Self {
        Self {
            guest: 0,
            information: 0,
            validity: 0,
            identifier: Some(identifier.to_owned()),
            team: Some(team.to_owned()),
            cdhash: Some((0..20).collect()),
            platform: 0,
            flags: FLAG_RUNTIME,
            status: STATUS_VALID,
            bundle: None,
            requirements: BTreeSet::from(["anchor apple generic".to_owned()]),
        }
    }

    /// Part of macOS: no team, a platform number.
    pub fn platform(identifier: &str) -> Self {
        Self {
            team: None,
            platform: 16,
            flags: 0,
            status: STATUS_VALID | STATUS_PLATFORM,
            requirements: ["anchor apple", "anchor apple generic"]
                .map(str::to_owned)
                .into(),
            ..Self::signed(identifier, "")
        }
    }

    /// Signed without a certificate, as the linker does on Apple silicon.
    pub fn ad_hoc(identifier: &str) -> Self {
        Self {
            team: None,
            flags: FLAG_ADHOC,
            requirements: BTreeSet::new(),
            ..Self::signed(identifier, "")
        }
    }

    /// Not signed at all: information names the executable only, and no validity.
    pub fn unsigned() -> Self {
        Self {
            validity: super::status::UNSIGNED,
            identifier: None,
            cdhash: None,
            status: 0,
            ..Self::ad_hoc("")
        }
    }

    /// With another hash.
    pub fn with_cdhash(mut self, cdhash: &[u8]) -> Self {
        self.cdhash = Some(cdhash.to_vec());
        self
    }

    /// Signed, but found changed: `SecCodeCheckValidity` answers with `validity`.
    pub fn broken(mut self, validity: i32) -> Self {
        self.validity = validity;
        self
    }
}
