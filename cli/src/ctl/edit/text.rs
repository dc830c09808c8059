//! Notes above a text that is edited. Pure.

/// Begins every line of a note. Users' own comments begin otherwise, and stay.
const MARK: &str = "#: ";

/// The text below notes.
pub fn with_notes(notes: &[String], text: &str) -> String {
    let lines = notes.iter().flat_map(|note| {
        let mut lines: Vec<&str> = note.lines().collect();
        if lines.is_empty() {
            lines.push("");
        }
        lines
    });
    let head: String = lines
        .map(|line| format!("{}\n", format!("{MARK}{line}").trim_end()))
        .collect();
    format!("{head}{text}")
}

/// The text without notes.
pub fn without_notes(text: &str) -> String {
    let mark = MARK.trim_end();
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.starts_with(mark)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_and_go_and_leave_the_text() {
        let text = "# mine\nkind: Project\n";
        let notes = ["one\ntwo".to_owned(), String::new(), "three".to_owned()];
        let shown = with_notes(&notes, text);
        assert_eq!(
            shown,
            "#: one\n#: two\n#:\n#: three\n# mine\nkind: Project\n"
        );
        assert_eq!(without_notes(&shown), text);
        assert_eq!(without_notes("#: a"), "");
    }
}
