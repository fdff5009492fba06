//! `screenshots`: pictures of the status page and of `nanod top` for the documents, of `nanod demo --load`.
//!
//!     cargo build -p nanod --bin nanod
//!     cargo run -p nano-integration --bin screenshots -- docs/images

use std::{fs, io, path::Path, path::PathBuf, time::Duration};

use clap::Parser;
use nano_integration::{Browser, Demo, Terminal, drawing, nanod};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// Draw the status page, at a desktop's and a phone's width, light and dark, and `nanod top`
#[derive(Parser)]
struct Arguments {
    /// Folder that the pictures go to
    folder: PathBuf,
    /// Seconds of calls before they are taken
    #[arg(long, default_value_t = 115)]
    seconds: u64,
}

/// What is drawn of the page: a name, the width and height, and the colours.
const PICTURES: [(&str, u32, u32, &str); 4] = [
    ("status-page-light", 1280, 920, "light"),
    ("status-page-dark", 1280, 920, "dark"),
    ("status-page-phone-light", 390, 844, "light"),
    ("status-page-phone-dark", 390, 844, "dark"),
];

/// Until a change of size and colours has been drawn, and the figures after it.
const SETTLED: Duration = Duration::from_millis(2_500);

/// Columns and rows of the terminal that `nanod top` is drawn in.
const COLUMNS: u16 = 92;
const ROWS: u16 = 15;

/// How long the instance may take that hangs now and then.
const HANGING: Duration = Duration::from_secs(120);

/// Between two looks at the terminal.
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.folder)?;
    let mut demo = Demo::start().await;
    let browser = Browser::open(&demo.page).await;
    sleep(Duration::from_secs(arguments.seconds)).await;
    draw_page(&browser, &arguments.folder).await?;
    browser.close().await;
    draw_top(&demo, &arguments.folder).await?;
    demo.process.terminate().await;
    Ok(())
}

/// Draws the page with a branch of the tree open, and a pattern chosen whose instances are explained.
async fn draw_page(browser: &Browser, folder: &Path) -> io::Result<()> {
    for key in ["role:shop", "role:shop,cmd:stock"] {
        let row = format!("#tree [data-key=\"{key}\"]");
        browser.until_text(&row, "").await;
        browser.click(&row).await;
    }
    browser.run("document.querySelector('#chosen-explain').click(); scrollTo(0, 0); document.activeElement.blur();", json!([])).await;
    for (name, width, height, colours) in PICTURES {
        browser.resize(width, height).await;
        browser.scheme(colours).await;
        sleep(SETTLED).await;
        let file = folder.join(format!("{name}.png"));
        fs::write(file, browser.screenshot().await)?;
    }
    Ok(())
}

/// Draws the list of patterns, and the one of which an instance hangs.
async fn draw_top(demo: &Demo, folder: &Path) -> io::Result<()> {
    let mut top = nanod();
    top.args(&demo.top);
    let terminal = Terminal::run(&top, COLUMNS, ROWS).await;
    let list = when_it_says(&terminal, &["role:shop,cmd:stock", "ejected"]).await;
    fs::write(folder.join("top.svg"), list)?;
    terminal.press(&["/", "stock", "Enter", "Enter"]);
    let pattern = when_it_says(&terminal, &["deadline", "ejected ", "yes"]).await;
    fs::write(folder.join("top-pattern.svg"), pattern)?;
    terminal.press(&["q"]);
    terminal.left().await;
    Ok(())
}

/// What a terminal shows as soon as it says all of these.
async fn when_it_says(terminal: &Terminal, words: &[&str]) -> String {
    let end = Instant::now() + HANGING;
    loop {
        let screen = terminal.colored_screen();
        if words.iter().all(|word| screen.contains(word)) {
            return drawing(&screen, COLUMNS.into(), ROWS.into());
        }
        assert!(Instant::now() < end, "waited for {words:?} of\n{screen}");
        sleep(PAUSE).await;
    }
}
