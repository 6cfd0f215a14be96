//! Where Claude Code keeps the conversations of a working directory.

/// The name of the directory below `projects/` for a working directory: every
/// UTF-16 unit outside `[A-Za-z0-9]` becomes `-`; longer than 200, the first
/// 200 and a hash of the whole.
pub(super) fn project_name(path: &str) -> String {
    let encoded: String = path
        .encode_utf16()
        .map(|unit| match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_alphanumeric() => char::from(byte),
            _ => '-',
        })
        .collect();
    if encoded.len() <= 200 {
        return encoded;
    }
    let hash = path
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_shl(5).wrapping_sub(hash).wrapping_add(i32::from(unit)));
    format!("{}-{}", &encoded[..200], base36(hash.unsigned_abs()))
}

fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit(number % 36, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names_are_those_of_the_cli() {
        assert_eq!(project_name("/a/b.c/ü_🙂"), "-a-b-c-----");
        let long = format!("/{}", "x".repeat(250));
        assert_eq!(project_name(&long).len(), 200 + 1 + project_name(&long).rsplit('-').next().map_or(0, str::len));
        assert_eq!(base36(35), "z");
    }
}
