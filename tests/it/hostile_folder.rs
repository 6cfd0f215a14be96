//! Everything that an agent can leave in its folder, met by everything that
//! Denizen does with a folder. Nothing of it is run, nothing of another session
//! is read or written, no command hangs, and what is given to the person holds
//! nothing of others. What the next turn makes of links and control files is in
//! `hostile_agent`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::root::Root;
use crate::support::tree::Tree;
use crate::support::words::plain;

/// What is left in the folder, as a shell script that runs there; `$MARK` is what
/// a program that is run touches.
struct Plant {
    name: &'static str,
    script: &'static str,
    /// What the next message is answered with: the exit code, and a part of what
    /// is said beside the reply.
    next: (i32, &'static str),
}

const FINE: (i32, &str) = (0, "");

const PLANTS: &[Plant] = &[
    Plant {
        name: "a repository that runs things",
        script: r#"git init -q . && git config core.fsmonitor "touch $MARK-fsmonitor" && git config core.hooksPath hooks &&
            git config core.pager "touch $MARK-pager" && git config core.sshCommand "touch $MARK-ssh" &&
            git config filter.x.clean "touch $MARK-filter" && echo '* filter=x' > .gitattributes; mkdir -p hooks;
            for hook in pre-commit post-checkout post-index-change reference-transaction; do
            printf '#!/bin/sh\ntouch %s-hook\n' "$MARK" > hooks/$hook; chmod +x hooks/$hook; done"#,
        next: FINE,
    },
    Plant {
        name: "a worktree of a repository elsewhere",
        script: "echo 'gitdir: ../birch/.git/worktrees/x' > .git; ln -s ../birch/.git common",
        next: FINE,
    },
    Plant {
        name: "files that tools run where they are started",
        script: r#"echo "touch $MARK-envrc" > .envrc; echo "touch $MARK-profile" | tee .profile .bashrc .bash_profile .zshrc .zshenv .env > /dev/null;
            echo "import os; os.system('touch $MARK-python')" | tee sitecustomize.py usercustomize.py > /dev/null;
            printf 'all:\n\ttouch %s-make\n' "$MARK" > Makefile; echo "!touch $MARK-exrc" > .exrc;
            echo '{"scripts": {"preinstall": "touch '"$MARK"'-npm"}}' > package.json;
            printf '#!/bin/sh\ntouch %s-path\n' "$MARK" | tee git bwrap sh claude > /dev/null; chmod +x git bwrap sh claude"#,
        next: FINE,
    },
    Plant {
        name: "configuration of Denizen",
        script: r#"printf 'walls = "off"\nprovider = "evil"\n[providers.evil]\nprogram = "/bin/sh"\nargs = ["-c", "touch %s-toml"]\n' "$MARK" > denizen.toml;
            mkdir -p access/sessions state/control; cp denizen.toml access/; echo x > access/token; touch state/control/alder.stop"#,
        next: FINE,
    },
    Plant {
        name: "an enormous memory",
        script: "truncate -s 20M memory/MEMORY.md; truncate -s 20M AGENTS.md",
        next: FINE,
    },
    Plant {
        name: "an enormous record",
        script: "truncate -s 20M session.json",
        next: (1, "at most 16777216 are read"),
    },
    Plant {
        name: "enormous settings",
        script: "truncate -s 20M settings.json",
        next: (1, "at most 16777216 are read"),
    },
    Plant {
        name: "an enormous transcript of nothing",
        script: "truncate -s 20M transcript.jsonl",
        next: FINE,
    },
    Plant {
        name: "FIFOs wherever something is read",
        script: "rm -rf memory/MEMORY.md AGENTS.md; mkfifo memory/MEMORY.md AGENTS.md outbox.fifo; mkdir -p inbox outbox provider/claude;
            mkfifo inbox/x outbox/x provider/x provider/claude/00000000-0000-4000-8000-000000000000.jsonl",
        next: FINE,
    },
    Plant {
        name: "sockets and links to devices",
        script: r#"mkdir -p outbox inbox; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("outbox/socket")';
            ln -s /dev/zero outbox/zero; ln -s /dev/random memory/random; ln -s /proc/self/environ outbox/environ"#,
        next: FINE,
    },
    Plant {
        name: "links to everything of the other",
        script: "mkdir -p outbox inbox; for dir in . memory outbox inbox provider; do ln -s ../birch \"$dir/to-birch\"; \
            ln -s \"$PWD/../birch/memory/MEMORY.md\" \"$dir/birch.md\"; done; ln ../birch/memory/MEMORY.md outbox/hard; ln ../birch/transcript.jsonl inbox/hard",
        next: FINE,
    },
    Plant {
        name: "names that a terminal acts on",
        script: r#"mkdir -p outbox memory; touch "$(printf 'outbox/\033]0;owned\007\033[2J')" "$(printf 'memory/a\nb')" "outbox/-rf" 'outbox/$(touch x)' 'outbox/;x'"#,
        next: FINE,
    },
    Plant {
        name: "a deep tree",
        script: "python3 -c '
import os
for _ in range(1500):
    os.mkdir(\"d\")
    os.chdir(\"d\")
open(\"bottom\", \"w\").write(\"x\")'",
        next: FINE,
    },
    Plant {
        name: "directories that cannot be entered",
        script: "mkdir -p closed/below; touch closed/below/x; chmod 000 closed/below closed; chmod 500 memory",
        next: FINE,
    },
];

/// What is done with the folder: by a person, by cron, by the daemon's own
/// tidying. Where one needs another, they stand in order.
const COMMANDS: &[&[&str]] = &[
    &["status", "alder"],
    &["status"],
    &["ls"],
    &["doctor"],
    &["history", "alder"],
    &["usage", "alder"],
    &["pending", "alder"],
    &["path", "alder"],
    &["rename", "alder", "a title"],
    &["set", "alder", "model", "small"],
    &["verify"],
    &["export", "alder", "-o", "alder.tar.zst"],
    &["fork", "alder", "copy"],
    &["archive", "alder"],
    &["unarchive", "alder"],
    &["cleanup", "--idle", "24h", "--dry-run"],
    &["exec", "alder", "--", "true"],
    &["new", "alder"],
    &["rm", "alder"],
    &["trash", "list"],
    &["trash", "restore", "alder"],
    &["rm", "alder", "--purge"],
];

/// Longer than any command takes with a folder of ordinary size.
const PATIENCE: Duration = Duration::from_secs(20);

fn birch(root: &Root) -> Tree {
    Tree::of(&[root.session("birch"), root.path().join("access"), root.path().join("state/homes/birch")])
}

fn plant(root: &Root, script: &str, mark: &Path) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script]).current_dir(root.session("alder")).env("MARK", mark);
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{script}: {output:?}");
}

#[test]
fn nothing_in_a_folder_makes_denizen_do_more() {
    let root = Root::new("nothing_in_a_folder_makes_denizen_do_more");
    root.write_config("provider = \"notes\"\ndurability = \"process\"\n");
    root.ok(&["send", "birch", "hello"]);
    fs_err::write(root.session("birch").join("memory/MEMORY.md"), "the heron is shy\n").expect("written");
    let before = birch(&root);
    let mark = root.dir().join("ran");
    let mut wrong = Vec::new();
    for planted in PLANTS {
        let name = planted.name;
        root.ok(&["send", "alder", "hello"]);
        plant(&root, planted.script, &mark);
        let next = root.run(&["send", "alder", "what is known"]);
        let words = plain(&root, &next.stderr);
        if next.code != Some(planted.next.0) || !words.contains(planted.next.1) {
            wrong.push(format!("{name}: the next message: {:?} {words}", next.code));
        }
        assert!(!next.stdout.contains("heron"), "{name}: {next:?}");
        for command in COMMANDS {
            let begun = Instant::now();
            let output = root.run(command);
            let took = begun.elapsed();
            if took > PATIENCE || !matches!(output.code, Some(0..=2)) {
                wrong.push(format!("{name}: {command:?} took {took:?}: {output:?}"));
            }
            let printed = format!("{}{}", output.stdout, output.stderr);
            assert!(!printed.contains("heron"), "{name}: {command:?}: {printed}");
            assert!(!printed.contains("panicked"), "{name}: {command:?}: {printed}");
            assert!(!printed.contains('\x1b'), "{name}: {command:?}: {printed:?}");
        }
        before.assert_same(&birch(&root), name);
        let archive = root.home().join("alder.tar.zst");
        if archive.exists() {
            let file = std::fs::File::open(&archive).expect("the archive");
            let mut bytes = Vec::new();
            zstd::stream::copy_decode(file, &mut bytes).expect("an archive");
            assert!(!bytes.windows(5).any(|window| window == b"heron"), "{name}: the archive holds another session's");
            fs_err::remove_file(&archive).expect("removed");
        }
        for session in ["alder", "copy"] {
            let dir = root.session(session);
            let _opened = Command::new("chmod").args(["-R", "u+rwX"]).arg(&dir).output();
            let _removed = Command::new("rm").arg("-rf").arg(&dir).output();
        }
        let ran: Vec<_> = fs_err::read_dir(root.dir()).expect("the directory").flatten().collect();
        let ran: Vec<_> = ran
            .iter()
            .map(|entry| entry.file_name())
            .filter(|name| name.to_string_lossy().starts_with("ran"))
            .collect();
        assert!(ran.is_empty(), "{name}: {ran:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
