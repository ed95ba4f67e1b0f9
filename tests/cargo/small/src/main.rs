//! Uses a few of its many crates, so that they are linked.
use serde::Serialize;

#[derive(Serialize)]
pub struct Entry {
    pub name: String,
    pub size: u64,
}

pub fn describe(entry: &Entry) -> String {
    let hash = crc32fast::hash(entry.name.as_bytes());
    format!(
        "{} {} {}",
        hex::encode(hash.to_be_bytes()),
        itoa::Buffer::new().format(entry.size),
        glob::Pattern::escape(&entry.name)
    )
}

fn main() {
    let entry = Entry {
        name: "a[b]".to_string(),
        size: 42,
    };
    println!("{}", describe(&entry));
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_entry_is_described() {
        let entry = super::Entry {
            name: "x".to_string(),
            size: 7,
        };
        assert_eq!(super::describe(&entry), "8cdc1683 7 x");
    }
}
