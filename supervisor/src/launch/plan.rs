//! What the launcher is to do, and the text that it crosses to the launcher as.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// The surroundings of one child.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Whether a user namespace comes first: what an ordinary user needs for the others.
    pub(crate) user_namespace: bool,
    /// What of the file system there is; `None` leaves it as it is.
    pub(crate) view: Option<Vec<Place>>,
    /// Whether the files of this process's user are a stranger's, but for those that the view names.
    pub(crate) strange: bool,
    /// The most bytes in each place that is there to be written in and gone with the child.
    pub(crate) scratch: u64,
    /// Whether the view lists what Landlock allows, and no mount hides the rest.
    pub(crate) by_landlock: bool,
    /// Whether there are no namespaces at all: the launcher itself becomes the child.
    pub(crate) in_place: bool,
    /// Where the child works.
    pub(crate) cwd: PathBuf,
    /// The network.
    pub(crate) network: Reach,
    /// Whether privileges may be gained by setuid programs.
    pub(crate) new_privs: bool,
    /// Whether capabilities go, and system calls are filtered.
    pub(crate) confined: bool,
    /// The user and group it runs as; `None`: as this process.
    pub(crate) user: Option<u32>,
    /// Whether the keeper adopts and ends what the child abandons, instead of namespaces.
    pub(crate) adopts: bool,
    /// Resource limits: number of the resource, value.
    pub(crate) limits: Vec<(Resource, u64)>,
}

/// A resource limit that a process has by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Open files.
    Nofile,
    /// Bytes of a file that is written.
    Fsize,
    /// Bytes of address space that is private data.
    Data,
}

/// One path of the child's file system that differs from the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Absolute, without symbolic links above its name.
    pub(crate) path: PathBuf,
    /// What becomes of it.
    pub(crate) access: Access,
}

/// What becomes of a path; the greatest of those that it is named with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    /// Empty, for the child to write in, and gone with it.
    Scratch,
    /// A symbolic link, as on the host.
    Link,
    /// As on the host, to be read by those who may there.
    Show,
    /// The same, with the rights of this process's user.
    Read,
    /// As on the host, to be read and written.
    Write,
    /// Empty.
    Hidden,
}

/// What the child reaches over the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    #[default]
    Any,
    None,
    /// This port of its own loopback address, where the spawner listens.
    Listener(u16),
    Ports(Vec<u16>),
}

impl Reach {
    /// Whether it is a network of the child's own.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::None | Self::Listener(_))
    }
}

/// Letters of the ways a place may be, in the plan's text.
const ACCESS: [(u8, Access); 6] = [
    (b'g', Access::Show),
    (b'r', Access::Read),
    (b'w', Access::Write),
    (b'h', Access::Hidden),
    (b's', Access::Scratch),
    (b'k', Access::Link),
];

/// Numbers of the resources, in the plan's text.
const RESOURCES: [Resource; 3] = [Resource::Nofile, Resource::Fsize, Resource::Data];

impl Plan {
    /// One entry for each fact: a letter and what it says. A NUL ends it, since no path has one.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut add = |letter: u8, value: &[u8]| {
            text.push(letter);
            text.extend_from_slice(value);
            text.push(0);
        };
        let path = |path: &Path| path.as_os_str().as_bytes().to_vec();
        add(b'd', &path(&self.cwd));
        for (letter, flag) in [
            (b'u', self.user_namespace),
            (b'p', self.new_privs),
            (b'c', self.confined),
            (b'b', self.adopts),
            (b'v', self.view.is_some()),
            (b'a', self.by_landlock),
            (b'f', self.strange),
            (b'e', self.in_place),
            (b'n', self.network == Reach::None),
        ] {
            if flag {
                add(letter, b"");
            }
        }
        if let Reach::Ports(ports) = &self.network {
            add(b't', b"");
            ports.iter().for_each(|port| add(b't', port.to_string().as_bytes()));
        }
        if let Reach::Listener(port) = self.network {
            add(b'o', port.to_string().as_bytes());
        }
        if self.scratch > 0 {
            add(b'z', self.scratch.to_string().as_bytes());
        }
        if let Some(user) = self.user {
            add(b'i', user.to_string().as_bytes());
        }
        for (resource, value) in &self.limits {
            let number = RESOURCES.iter().position(|known| known == resource).unwrap_or_default();
            add(b'l', format!("{number} {value}").as_bytes());
        }
        for place in self.view.iter().flatten() {
            let letter = ACCESS.iter().find(|(_, access)| *access == place.access);
            let letter = letter.map_or(b'h', |(letter, _)| *letter);
            add(letter, &path(&place.path));
        }
        text
    }

    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut plan = Self::default();
        for entry in text.strip_suffix(b"\0")?.split(|byte| *byte == 0) {
            let (letter, value) = entry.split_first()?;
            let path = || PathBuf::from(OsStr::from_bytes(value));
            let words = std::str::from_utf8(value).ok();
            match letter {
                b'd' => plan.cwd = path(),
                b'u' => plan.user_namespace = true,
                b'p' => plan.new_privs = true,
                b'c' => plan.confined = true,
                b'b' => plan.adopts = true,
                b'v' => plan.view = Some(Vec::new()),
                b'a' => plan.by_landlock = true,
                b'f' => plan.strange = true,
                b'z' => plan.scratch = words?.parse().ok()?,
                b'e' => plan.in_place = true,
                b'n' => plan.network = Reach::None,
                b'o' => plan.network = Reach::Listener(words?.parse().ok()?),
                b't' if value.is_empty() => plan.network = Reach::Ports(Vec::new()),
                b't' => {
                    let Reach::Ports(ports) = &mut plan.network else { return None };
                    ports.push(words?.parse().ok()?);
                }
                b'i' => plan.user = Some(words?.parse().ok()?),
                b'l' => {
                    let (number, value) = words?.split_once(' ')?;
                    let resource = RESOURCES.get(number.parse::<usize>().ok()?)?;
                    plan.limits.push((*resource, value.parse().ok()?));
                }
                letter => {
                    let (_, access) = *ACCESS.iter().find(|(known, _)| known == letter)?;
                    plan.view.as_mut()?.push(Place { path: path(), access });
                }
            }
        }
        Some(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_reads_what_the_spawner_wrote() {
        let place = |path: &[u8], access| Place { path: OsStr::from_bytes(path).into(), access };
        let full = Plan {
            user_namespace: true,
            view: Some(vec![
                place(b"/srv/\xff", Access::Write),
                place(b"/home", Access::Hidden),
                place(b"/tmp", Access::Scratch),
                place(b"/opt", Access::Read),
                place(b"/opt/current", Access::Link),
                place(b"/opt/other", Access::Show),
            ]),
            strange: true,
            scratch: 1 << 40,
            by_landlock: true,
            in_place: true,
            cwd: "/srv".into(),
            network: Reach::Ports(vec![443, 80]),
            new_privs: true,
            confined: true,
            user: Some(200_000),
            adopts: false,
            limits: vec![(Resource::Fsize, u64::MAX), (Resource::Nofile, 0)],
        };
        let no_ports = Plan { network: Reach::Ports(Vec::new()), ..Plan::default() };
        let none = Plan { network: Reach::None, view: Some(Vec::new()), ..Plan::default() };
        let listener = Plan { network: Reach::Listener(4711), ..Plan::default() };
        let adopts = Plan { adopts: true, ..Plan::default() };
        for plan in [full, no_ports, none, listener, adopts, Plan::default()] {
            assert_eq!(Plan::parse(&plan.text()), Some(plan));
        }
        for broken in [&b""[..], b"d/", b"x\0", b"\0", b"r/srv\0", b"t80\0", b"o\0", b"l9 1\0"] {
            assert_eq!(Plan::parse(broken), None, "{broken:?}");
        }
    }
}
