//! What is shown: keys and news come in, and it says what of the patterns is to be seen, and in which
//! order. It neither draws nor asks.

#[cfg(test)]
pub(super) mod tests;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use nano_client::{Explained, Of};

use super::{
    asking::{News, Period},
    cells::name,
};
use crate::{activity::rates::PatternRate, cli::Column};

/// Characters of a filter; a pattern has no more.
const LONGEST_FILTER: usize = 1024;

/// What is shown, and how.
pub(super) struct Model {
    /// The last period; `None` before the node's first answer.
    pub period: Option<Period>,
    /// Why the node does not answer, if it does not.
    pub lost: Option<String>,
    pub sort: Column,
    pub is_reversed: bool,
    /// What patterns have to contain, in lower case.
    pub filter: String,
    /// The filter is being typed.
    pub is_filtering: bool,
    pub is_paused: bool,
    /// The keys are shown.
    pub is_helping: bool,
    /// The pattern that is looked into.
    pub detail: Option<Detail>,
    /// The pattern that the cursor is on; the first one if `None`.
    selected: Option<Of>,
}

/// A pattern that is looked into.
pub(super) struct Detail {
    pub of: Of,
    /// How its instances stand; `None` before the node has said so.
    pub explained: Option<Explained>,
    /// How many lines are above what is to be seen.
    pub scroll: usize,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    Show,
    End,
}

impl Model {
    /// Nothing yet, in an order.
    pub(super) fn new(sort: Column) -> Self {
        Self {
            period: None,
            lost: None,
            sort,
            is_reversed: false,
            filter: String::new(),
            is_filtering: false,
            is_paused: false,
            is_helping: false,
            detail: None,
            selected: None,
        }
    }

    /// Takes what the node said. While paused only what is asked for meanwhile.
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Lost(error) => self.lost = Some(error.to_string()),
            News::Period(period) => {
                self.lost = None;
                if !self.is_paused {
                    self.take_period(*period);
                }
            }
            News::Explained(explained) => {
                let is_paused = self.is_paused;
                if let Some(detail) = &mut self.detail
                    && explained.subject == name(&detail.of)
                    && !(is_paused && detail.explained.is_some())
                {
                    detail.explained = Some(*explained);
                }
            }
        }
    }

    /// Keeps the rates where it is another node, until there are its own.
    fn take_period(&mut self, period: Period) {
        let before = self.period.take().and_then(|before| before.rates);
        let rates = period.rates.or(before);
        self.period = Some(Period { rates, ..period });
    }

    /// The patterns to be seen, in order. Calls of no pattern are there if there are any.
    pub(super) fn rows(&self) -> Vec<&PatternRate> {
        let period = self.period.as_ref();
        let rates = period.and_then(|period| period.rates.as_ref());
        let all = rates.map_or(&[][..], |rates| &rates.patterns);
        let mut rows: Vec<_> = all.iter().filter(|row| self.is_shown(row)).collect();
        rows.sort_by(|one, other| match self.is_reversed {
            false => self.sort.order(one, other),
            true => self.sort.order(other, one),
        });
        rows
    }

    fn is_shown(&self, row: &PatternRate) -> bool {
        let has_some = matches!(row.of, Of::Pattern(_)) || row.rate.calls_per_s > 0.0;
        has_some && name(&row.of).to_lowercase().contains(&self.filter)
    }

    /// Which of the rows the cursor is on.
    pub(super) fn cursor(&self, rows: &[&PatternRate]) -> usize {
        let selected = self.selected.as_ref();
        let at = selected.and_then(|of| rows.iter().position(|row| row.of == *of));
        at.unwrap_or(0)
    }

    /// The pattern whose instances are to be asked for.
    pub(super) fn wanted(&self) -> Option<String> {
        match &self.detail.as_ref()?.of {
            Of::Pattern(pattern) => Some(pattern.clone()),
            Of::Other | Of::None => None,
        }
    }

    /// The figures of the pattern that is looked into, if it is still counted.
    pub(super) fn looked_into(&self) -> Option<&PatternRate> {
        let of = &self.detail.as_ref()?.of;
        let rates = self.period.as_ref()?.rates.as_ref()?;
        rates.patterns.iter().find(|row| row.of == *of)
    }

    /// Does what a key says, where so many rows are to be seen at a time.
    pub(super) fn press(&mut self, key: KeyEvent, page: usize) -> Next {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Next::End,
            _ if is_control => {}
            _ if self.is_filtering => self.type_filter(key.code),
            KeyCode::Char('q') => return Next::End,
            // Any key.
            _ if self.is_helping => self.is_helping = false,
            KeyCode::Char('?') => self.is_helping = true,
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            _ if self.detail.is_some() => self.press_in_detail(key.code, page),
            code => self.press_in_list(code, page),
        }
        Next::Show
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Esc => {
                self.filter.clear();
                self.is_filtering = false;
            }
            KeyCode::Enter => self.is_filtering = false,
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(typed) if self.filter.len() < LONGEST_FILTER => {
                self.filter.extend(typed.to_lowercase());
            }
            _ => {}
        }
    }

    fn press_in_list(&mut self, code: KeyCode, page: usize) {
        match code {
            KeyCode::Char('/') => self.is_filtering = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('s' | '>') => self.sort_by(self.sort_index() + 1),
            KeyCode::Char('<') => self.sort_by(self.sort_index() + Column::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='7') => self.sort_by(digit as usize - '1' as usize),
            KeyCode::Enter => self.look_into(),
            _ => self.move_cursor(code, page),
        }
    }

    fn sort_index(&self) -> usize {
        let mut columns = Column::ALL.into_iter();
        columns
            .position(|column| column == self.sort)
            .unwrap_or_default()
    }

    fn sort_by(&mut self, index: usize) {
        self.sort = Column::ALL[index % Column::ALL.len()];
        self.is_reversed = false;
    }

    fn look_into(&mut self) {
        let rows = self.rows();
        let row = rows.get(self.cursor(&rows));
        self.detail = row.map(|row| Detail {
            of: row.of.clone(),
            explained: None,
            scroll: 0,
        });
    }

    fn move_cursor(&mut self, code: KeyCode, page: usize) {
        let rows = self.rows();
        let at = moved(code, self.cursor(&rows), page, rows.len());
        let of = at.and_then(|at| rows.get(at)).map(|row| row.of.clone());
        if of.is_some() {
            self.selected = of;
        }
    }

    fn press_in_detail(&mut self, code: KeyCode, page: usize) {
        let Some(detail) = &mut self.detail else {
            return;
        };
        match code {
            KeyCode::Esc | KeyCode::Backspace => {
                // Where one was before, also if the first row is another by now.
                self.selected = Some(detail.of.clone());
                self.detail = None;
            }
            _ => {
                let lines = detail.lines();
                if let Some(scroll) = moved(code, detail.scroll, page, lines) {
                    detail.scroll = scroll;
                }
            }
        }
    }
}

impl Detail {
    /// The instances that are listed.
    fn lines(&self) -> usize {
        let explained = self.explained.as_ref();
        let winner = explained.and_then(|explained| explained.winner.as_ref());
        winner.map_or(0, |winner| winner.listed.len())
    }
}

/// Where a key leads from a line, of so many.
fn moved(code: KeyCode, from: usize, page: usize, lines: usize) -> Option<usize> {
    let to = match code {
        KeyCode::Down | KeyCode::Char('j') => from.saturating_add(1),
        KeyCode::Up | KeyCode::Char('k') => from.saturating_sub(1),
        KeyCode::PageDown => from.saturating_add(page),
        KeyCode::PageUp => from.saturating_sub(page),
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => usize::MAX,
        _ => return None,
    };
    Some(to.min(lines.saturating_sub(1)))
}
