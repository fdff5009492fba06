//! `nanod top`: the calls of a node as they come, by pattern. Its figures come in each period, and keys
//! from the terminal; out goes a screen, a table, or JSON.

mod asking;
mod cells;
mod draw;
mod model;
mod plain;
mod screen;

use std::{
    env,
    io::{self, IsTerminal},
    process::ExitCode,
};

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use nano_client::{CallError, Client, ConnectError, Options};
use nano_routing::Pattern;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::sleep,
};

use super::{
    ASKED_IN_VAIN, NO_SESSION, StopSignals, USAGE, fail,
    output::{is_unread, standard_output},
    runtime,
};
use crate::cli::TopArguments;

use asking::{Asking, NEWS, News, PATIENCE};
use draw::Painter;
use model::{Model, Next};
use screen::Screen;

/// What one does where there is no terminal.
const INSTEAD: &str = "use --once for a table, or --json";

#[derive(Debug, thiserror::Error)]
enum TopError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("cannot take the terminal: {0}: {INSTEAD}")]
    Terminal(io::Error),
    #[error("cannot show the calls: {0}")]
    Io(#[from] io::Error),
}

/// What is to be shown, and how.
struct Shown {
    arguments: TopArguments,
    is_colored: bool,
}

pub(super) fn run(arguments: TopArguments) -> Result<ExitCode, ExitCode> {
    if let Some(Err(error)) = arguments.prefix.as_deref().map(Pattern::parse) {
        return Err(fail(USAGE, format!("the prefix is none: {error}")));
    }
    if !arguments.once && !arguments.json {
        needs_terminal()?;
    }
    let color = standard_output(arguments.colors.color).current_choice();
    let shown = Shown {
        is_colored: color != anstream::ColorChoice::Never,
        arguments,
    };
    let options = shown.arguments.at.clone().options();
    let mut options = options.map_err(|error| fail(USAGE, error))?;
    options.timeout = Some(PATIENCE);
    let runtime = runtime().map_err(|error| fail(NO_SESSION, error))?;
    match runtime.block_on(shown.show(options)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // Whoever read has seen enough.
        Err(TopError::Io(error)) if is_unread(&error) => Ok(ExitCode::SUCCESS),
        Err(error @ TopError::Connect(_)) => Err(fail(NO_SESSION, error)),
        Err(error @ TopError::Terminal(_)) => Err(fail(USAGE, error)),
        Err(error) => Err(fail(ASKED_IN_VAIN, error)),
    }
}

/// Whether there is a terminal that can be drawn on.
fn needs_terminal() -> Result<(), ExitCode> {
    if !io::stdout().is_terminal() {
        let message = format!("standard output is no terminal: {INSTEAD}");
        return Err(fail(USAGE, message));
    }
    if env::var_os("TERM").is_some_and(|term| term == "dumb") {
        let message = format!("the terminal cannot be drawn on (TERM=dumb): {INSTEAD}");
        return Err(fail(USAGE, message));
    }
    Ok(())
}

impl Shown {
    async fn show(&self, options: Options) -> Result<(), TopError> {
        let client = Client::connect(options).await?;
        let mut asking = Asking::new(client, self.arguments.prefix.clone());
        let mut signals = StopSignals::new()?;
        let mut hangup = signal(SignalKind::hangup())?;
        let showing = async {
            match (self.arguments.once, self.arguments.json) {
                (true, _) => self.once(&mut asking).await,
                (false, true) => self.lines(&mut asking).await,
                (false, false) => self.screen(&mut asking).await,
            }
        };
        let ended = tokio::select! {
            ended = showing => ended,
            () = signals.next() => Ok(()),
            _ = hangup.recv() => Ok(()),
        };
        asking.close().await;
        ended
    }

    async fn once(&self, asking: &mut Asking) -> Result<(), TopError> {
        let mut model = Model::new(self.arguments.sort);
        loop {
            model.take(News::Period(Box::new(asking.period().await?)));
            let period = model.period.as_ref();
            if period.is_some_and(|period| period.rates.is_some()) {
                return Ok(self.print(&model)?);
            }
            // Also if it is another node than before.
            sleep(self.arguments.interval).await;
        }
    }

    /// A line each period, also after the node was away.
    async fn lines(&self, asking: &mut Asking) -> Result<(), TopError> {
        loop {
            let mut model = Model::new(self.arguments.sort);
            match asking.period().await {
                Ok(period) => {
                    model.take(News::Period(Box::new(period)));
                    self.print(&model)?;
                }
                Err(error) => eprintln!("nanod: {error}; still trying"),
            }
            sleep(self.arguments.interval).await;
        }
    }

    fn print(&self, model: &Model) -> io::Result<()> {
        let mut out = io::BufWriter::new(standard_output(self.arguments.colors.color));
        match self.arguments.json {
            true => plain::json(&mut out, model),
            false => plain::table(&mut out, model, self.is_colored),
        }
    }

    async fn screen(&self, asking: &mut Asking) -> Result<(), TopError> {
        let (wants, wanted) = watch::channel(None);
        let (tell, news) = mpsc::channel(NEWS);
        // Before the terminal is taken, which colours are written to.
        crossterm::style::force_color_output(self.is_colored);
        tokio::select! {
            ended = self.watch(wants, news) => ended,
            () = asking.run(self.arguments.interval, wanted, tell) => Ok(()),
        }
    }

    /// Shows what there is to be shown until a key ends it.
    async fn watch(
        &self,
        wants: watch::Sender<Option<String>>,
        mut news: mpsc::Receiver<News>,
    ) -> Result<(), TopError> {
        let mut model = Model::new(self.arguments.sort);
        let mut painter = Painter::new(self.is_colored, self.arguments.prefix.clone());
        let mut screen = Screen::take().map_err(TopError::Terminal)?;
        let mut events = EventStream::new();
        loop {
            screen.show(|frame| painter.paint(frame, &model))?;
            tokio::select! {
                Some(told) = news.recv() => model.take(told),
                event = events.next() => match event {
                    Some(Ok(Event::Key(key))) if key.is_press() => {
                        if model.press(key, painter.page()) == Next::End {
                            return Ok(());
                        }
                        wants.send_if_modified(|wanted| replace(wanted, model.wanted()));
                    }
                    // Of another size, say.
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                },
            }
        }
    }
}

/// Whether it is another one than before.
fn replace(wanted: &mut Option<String>, now: Option<String>) -> bool {
    let is_other = *wanted != now;
    *wanted = now;
    is_other
}
