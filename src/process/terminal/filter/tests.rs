//! Tests of the filter: what is dropped, in every form, and that nothing else is.

use super::*;

/// What goes on of this, in pieces of so many bytes.
fn passed(bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut filter, mut out) = (Filter::default(), Vec::new());
    for piece in bytes.chunks(piece) {
        filter.take(piece, &mut out);
    }
    out
}

/// The same, however it is cut.
#[track_caller]
fn goes_on(bytes: &[u8], expected: &[u8]) {
    for piece in [1, 2, 3, bytes.len().max(1)] {
        let out = passed(bytes, piece);
        let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(show(&out), show(expected), "of {} in pieces of {piece}", show(bytes));
    }
    for at in 1..bytes.len() {
        let (mut filter, mut out) = (Filter::default(), Vec::new());
        let (first, second) = bytes.split_at(at);
        filter.take(first, &mut out);
        filter.take(second, &mut out);
        assert!(out == expected, "of {} cut at {at}", bytes.escape_ascii());
    }
}

/// Sequences of which nothing goes on.
const DROPPED: &[&str] = &[
    // Clipboards.
    "\x1b]52;c;Y3VybA==\x07",
    "\x1b]52;c;?\x07",
    "\x1b]052;p;Y3VybA==\x1b\\",
    "\x1b]5522;type=write\x1b\\",
    // Answers with words of the agent's choice.
    "\x1b[20t",
    "\x1b[21t",
    "\x1b[021t",
    "\x1b[21;0t",
    "\x1b[21:1t",
    "\x1b[65557t",
    "\x1b[>2t",
    "\x1bP$qm\x1b\\",
    "\x1bP$q\"p\x1b\\",
    "\x1bP+q544e\x1b\\",
    "\x1bP+p544e\x1b\\",
    "\x1bP1$tx\x1b\\",
    "\x1b]50;?\x07",
    "\x1b]3;?WM_CLASS\x07",
    "\x1b]l\x1b\\",
    "\x05",
    // What is on the screen, macros, keys that type.
    "\x1b[1;1;1;1;10;10*y",
    "\x1b[1*z",
    "\x1bP1;0;0!z1b5d\x1b\\",
    "\x1bP0;1|17/6c73\x1b\\",
    "\x1bPpS(E)\x1b\\",
    // Other terminals within this one.
    "\x1b[?2l",
    "\x1b[?1;2l",
    "\x1b[?65538l",
    "\x1b[?38h",
    "\x1b%@",
    "\x1b%/G",
    "\x1b G",
    "\x1b&k",
    "\x1b!x",
    // Files, notifications, directories, commands, logs.
    "\x1b]1337;File=name=eA==;inline=1:eA==\x07",
    "\x1b]1337;CopyToClipboard=\x07",
    "\x1b]9;you won\x07",
    "\x1b]9;4;you won\x07",
    "\x1b]9;5\x07",
    "\x1b]99;;x\x1b\\",
    "\x1b]777;notify;a;b\x1b\\",
    "\x1b]7;file:///tmp\x1b\\",
    "\x1b]46;/home/u/.bashrc\x07",
    "\x1b]83;exec sh\x07",
    "\x1b]1x;a\x07",
    "\x1b]\x07",
    "\x1b]99999999999999999999;x\x07",
    "\x1b_Ga=T,t=f;L2V0Yy9wYXNzd2Q=\x1b\\",
    "\x1b^message\x1b\\",
    "\x1bXstring\x1b\\",
    "\x1bktitle\x1b\\",
    // Printing.
    "\x1b[i",
    "\x1b[0i",
    "\x1b[4i",
    "\x1b[5i",
    "\x1b[?5i",
    "\x1b[?4i",
];

#[test]
fn what_is_dangerous_is_dropped() {
    for dropped in DROPPED {
        goes_on(format!("a{dropped}b").as_bytes(), b"ab".as_slice());
    }
}

#[test]
fn its_8_bit_forms_are_dropped() {
    for dropped in DROPPED.iter().filter(|dropped| dropped.len() > 2) {
        let introduced = dropped.as_bytes()[1];
        if !b"[]P_^X".contains(&introduced) {
            continue;
        }
        let control = introduced + 0x40;
        let rest = &dropped.as_bytes()[2..];
        let unended = rest.strip_suffix(b"\x1b\\");
        for control in [vec![control], vec![0xc2, control]] {
            goes_on(&[b"a", control.as_slice(), rest, b"b"].concat(), b"ab");
            for end in [b"\x9c".as_slice(), b"\xc2\x9c"] {
                if let Some(unended) = unended {
                    goes_on(&[b"a", control.as_slice(), unended, end, b"b"].concat(), b"ab");
                }
            }
        }
    }
}

#[test]
fn what_is_cut_off_leaves_nothing_behind() {
    for (bytes, expected) in [
        // Past tmux and screen, for the terminal behind. What is in the string is held
        // against the same rules; of it all, its end is left.
        ("a\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\b", "a\x1b\\b"),
        ("a\x1bPtmux;\x1b\x1b[1mx\x1b\\b", "a\x1b[1mx\x1b\\b"),
        ("a\x1bP\x1b]52;c;eA==\x07\x1b\\b", "a\x1b\\b"),
        // Cancelled, and begun again.
        ("a\x1b]52;c;eA\x18b", "a\x18b"),
        ("a\x1b]0;eA\x1ab", "a\x1ab"),
        ("a\x1b]52;c;\x1b[1mb", "a\x1b[1mb"),
        ("a\x1b[2\x1b[1mb", "a\x1b[1mb"),
        ("a\x1b[2\x181tb", "a\x181tb"),
        // No `ESC` is left for what would make a command of the text after it.
        ("a\x1b\x1b]52;c;x\x07]52;c;x\x07", "a]52;c;x\x07"),
        ("a\x1b\x05]52;c;x\x07b", "ab"),
        ("a\x1b[\x1b[20t21t", "a21t"),
        ("a\x1b]0;\x1b]52;c;x\x07b", "ab"),
        ("a\x1b]0;x\x1b\x05\\b", "a\x1b\\b"),
        ("a\x1bP\x1b\x1b]52;c;x\x07b", "ab"),
        // What counts within a sequence does not hide it.
        ("a\x1b[2\n1tb", "a\nb"),
        ("a\x1b[2\x7f1tb", "ab"),
        ("a\x1b]5\x012;c;x\x07b", "ab"),
        ("a\x1b]5\n2;c;x\x07b", "ab"),
        // A letter of eight bits is none of seven.
        ("a\x1b\u{dd}52;c;x\x07b", "a\u{dd}52;c;x\x07b"),
        ("a\x1b[2\u{e9}1tb", "a\u{e9}1tb"),
        // The end of all.
        ("a\x1b]0;title", "a"),
        ("a\x1b", "a"),
    ] {
        goes_on(bytes.as_bytes(), expected.as_bytes());
    }
    // Half a character is no cover for a control character.
    goes_on(b"a\xe0\x9d52;c;x\x07b", b"a\xe0b");
    goes_on(b"a\xc2\xc2\x9d52;c;x\x07b", b"a\xc2b");
    goes_on(b"a\xf5\x9d52;c;x\x07b", b"a\xf5b");
    goes_on(b"a\xe2\x05\x9d52;c;x\x07b", b"a\xe2b");
}

#[test]
fn what_is_too_long_is_dropped_to_its_end() {
    let long = "x".repeat(3 * LONGEST);
    goes_on_whole(&format!("a\x1b]0;{long}\x07b"), "ab");
    goes_on_whole(&format!("a\x1b]52;c;{long}\x1b\\b"), "ab");
    goes_on_whole(&format!("a\x1b_{long}\x1b\\b"), "ab");
    goes_on_whole(&format!("a\x1b[{}tb", "1;".repeat(2 * LONGEST)), "ab");
    goes_on_whole(&format!("a\x1b[{}21tb", "0".repeat(2 * LONGEST)), "ab");
    let mut filter = Filter::default();
    filter.take(format!("\x1b]0;{long}").as_bytes(), &mut Vec::new());
    filter.take(format!("\x1b[{long}").replace('x', "1").as_bytes(), &mut Vec::new());
    assert!(filter.held.capacity() <= 2 * LONGEST, "{}", filter.held.capacity());
}

#[track_caller]
fn goes_on_whole(text: &str, expected: &str) {
    assert_eq!(String::from_utf8_lossy(&passed(text.as_bytes(), 4096)), expected);
    assert_eq!(String::from_utf8_lossy(&passed(text.as_bytes(), 1)), expected);
}

#[test]
fn everything_else_is_the_same_to_the_byte() {
    for same in [
        "plain, tab\t, bell\x07, back\x08, \x7f, lines\r\n",
        "é ß Ł 漢字 🦀 \u{a0} \u{200d} ✓ ✝ \u{9fff} \u{1f6f0}",
        "\x1b[1;31mred\x1b[0m \x1b[38;2;1;2;3m\x1b[48:2::9:8:7m\x1b[4:3m\x1b[58;5;1m\x1b[m",
        "\x1b[?1049h\x1b[22;0;0t\x1b[2J\x1b[H\x1b[3;40r\x1b[?25l\x1b[10;20H\x1b[K\x1b[?25h\x1b[23;0;0t\x1b[?1049l",
        "\x1b[?1000h\x1b[?1002;1006h\x1b[?1004h\x1b[?2004h\x1b[?2026h\x1b[?2026l\x1b[?1000l",
        "\x1b[>1u\x1b[<u\x1b[=5;1u\x1b[?u\x1b[>4;2m\x1b[?4m",
        "\x1b[6n\x1b[5n\x1b[c\x1b[>c\x1b[=c\x1b[>q\x1b[?2026$p\x1b[14t\x1b[18t\x1b[8;24;80t\x1bZ",
        "\x1b]0;title \u{2713} of it\x07\x1b]2;t\x1b\\\x1b]11;?\x1b\\\x1b]4;1;?;2;?\x07\x1b]10;#fff\x07\x1b]110\x07\x1b]104;1\x07",
        "\x1b]8;id=1;https://example.org/a?b\x1b\\link\x1b]8;;\x1b\\",
        "\x1b]9;4;1;50\x1b\\\x1b]9;4;0\x07",
        "\x1b(0lqqk\x1b(B\x0e\x0f\x1b)0\x1b7\x1b8\x1bM\x1bD\x1bE\x1bH\x1b=\x1b>\x1b#8\x1bc\x1b[!p\x1b[2 q\x1b[61\"p",
        "\x1bPq#0;2;0;0;0~~@@vv\r\n@@~~$-\x1b\\after",
        "\x1bP0;1;0q\"1;1;2;2#1~-\x1b\\",
        "\x1b\\",
    ] {
        goes_on(same.as_bytes(), same.as_bytes());
    }
    // Letters of older sets, and any byte by itself in a text.
    goes_on(b"caf\xe9 \xa0\xff\xc0\xc1x", b"caf\xe9 \xa0\xff\xc0\xc1x");
    goes_on(b"a\x85b\xc2\x85c", b"a\x85b\xc2\x85c");
}

#[test]
fn a_picture_is_ended_where_it_is_cut_off() {
    goes_on(b"\x1bPq~~\x1b[1mx", b"\x1bPq~~\x1b\\\x1b[1mx");
    goes_on(b"\x1bPq~\x05\x07\xc3\xa9~\x1b\\x", b"\x1bPq~~\x1b\\x");
    goes_on(b"\x1bPq~\x1b]52;c;x\x07x", b"\x1bPq~\x1b\\x");
    let mut filter = Filter::default();
    filter.take(b"\x1bPq~", &mut Vec::new());
    assert_eq!(filter.end(), b"\x1b\\");
}

/// The same bytes make the same output wherever they are cut, also where they are
/// no text at all.
#[test]
fn no_cut_changes_anything() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).expect("small")
    };
    let bytes = b"\x1b\x1b\x1b[]P_^Xk%\\\x07\x05\x18\x9b\x9d\x90\x9c\xc2\xc3\xe2\xf0\x9f0125;?>$+*itqhlmyz 4\n\x7fa";
    for _ in 0..2000 {
        let text: Vec<u8> = (0..40).map(|_| bytes[next(bytes.len())]).collect();
        let whole = passed(&text, 64);
        assert_eq!(passed(&text, 1), whole, "{}", text.escape_ascii());
        // What went on goes on again: nothing was put together.
        let ended = String::from_utf8_lossy(&whole).into_owned();
        let whole = [&whole, b"\n".as_slice()].concat();
        assert_eq!(passed(&whole, 64), whole, "{}: {ended:?}", text.escape_ascii());
    }
}

#[test]
fn what_was_changed_is_undone() {
    let undone = |text: &str| {
        let mut filter = Filter::default();
        filter.take(text.as_bytes(), &mut Vec::new());
        let undone = String::from_utf8(filter.end()).expect("text");
        assert_eq!(filter.end(), b"", "once");
        undone
    };
    for nothing in [
        "plain",
        "\x1b[1mbold\x1b[0m",
        "\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l",
        "\x1b[?1000h\x1b[?1000l\x1b[?7l\x1b[?7h",
        "\x1b[>1u\x1b[<u",
        "\x1b[>4;2m\x1b[>4;m",
        "\x1b[?1000h\x1b=\x1b[31m\x1bc",
        "\x1b]11;?\x1b\\",
        "\x0e\x0f\x1b(0\x1b(B\x1b=\x1b>\x1b[2 q\x1b[0 q\x1b[2;3r\x1b[r",
        "\x1b]9;4;1;50\x1b\\\x1b]9;4;0\x1b\\",
    ] {
        assert_eq!(undone(nothing), "", "{nothing:?}");
    }
    for (text, expected) in [
        ("\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"),
        ("\x1b[?47h", "\x1b[?47l"),
        ("\x1b[?1002;1006h\x1b[?2004h", "\x1b[?1002l\x1b[?1006l\x1b[?2004l"),
        ("\x1b[?1000h\x1b[?1000s\x1b[?1000l\x1b[?1000r", "\x1b[?1000l"),
        ("\x1b[>1u\x1b[?1049h\x1b[>3u\x1b[>3u", "\x1b[<2u\x1b[?1049l\x1b[<1u"),
        ("\x1b[=1u", "\x1b[=0u"),
        ("\x1b[>4;2m", "\x1b[>4m"),
        ("\x1b[31mred", "\x1b[m"),
        ("\x1b[4h", "\x1b[4l"),
        ("\x1b]11;#000\x07", "\x1b]111\x1b\\"),
        ("\x1b=\x1b[2 q\x0e\x1b[5;9r", "\x1b>\x1b[0 q\x0f\x1b(B\x1b7\x1b[r\x1b8"),
    ] {
        assert_eq!(undone(text), expected, "{text:?}");
    }
}
