//! A small program with the dependencies of a large one.
use clap::Parser;
use serde::{Deserialize, Serialize};

#[derive(Parser)]
struct Arguments {
    /// What to look for.
    #[arg(default_value = "([a-z]+)=(\\d+)")]
    pattern: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Match {
    pub name: String,
    pub value: u32,
}

pub fn find(pattern: &str, text: &str) -> Result<Vec<Match>, regex::Error> {
    let pattern = regex::Regex::new(pattern)?;
    let matches = pattern.captures_iter(text);
    Ok(matches
        .map(|found| Match {
            name: found[1].to_string(),
            value: found[2].parse().unwrap_or(0),
        })
        .collect())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let text = tokio::spawn(async { "a=1 b=22" }).await?;
    let found = find(&arguments.pattern, text)?;
    let picture = image::GrayImage::new(4, 4);
    println!(
        "{} {} {}",
        serde_json::to_string(&found)?,
        nix::unistd::getpid().as_raw() > 0,
        picture.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_matches_is_found() {
        let found = super::find("([a-z]+)=(\\d+)", "x=7").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].value, 7);
    }
}
