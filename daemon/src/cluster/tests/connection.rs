//! The way of commands to the model of Redis and back, and the reading of its log.

use std::time::Duration;

use super::super::{Command, Input, Reply, Ticket, Trouble};
use super::{
    event::{Event, Origin},
    world::{LIMIT, SETTINGS, World},
};

impl World {
    pub(super) fn send(&mut self, origin: Origin, ticket: Ticket, command: Command) {
        let unsure = Event::Answered(origin, ticket, Err(Trouble::Unsure), Duration::ZERO);
        if self.is_down {
            return self.after(1..20, unsure);
        }
        self.queue.push(self.now + LIMIT, unsure);
        if !self.nodes[origin.node].reaches_redis || self.random.f64() < self.noise {
            return;
        }
        let is_late = self.random.f64() < self.noise;
        let delay = if is_late { 1..6000 } else { 1..20 };
        self.after(delay, Event::Arrives(origin, ticket, command));
    }

    pub(super) fn at_redis(&mut self, origin: Origin, ticket: Ticket, command: Command) {
        if self.is_down {
            return;
        }
        if let Some(waiting) = &mut self.frozen {
            return waiting.push((origin, ticket, command));
        }
        self.execute(origin, ticket, command);
    }

    pub(super) fn execute(&mut self, origin: Origin, ticket: Ticket, command: Command) {
        let now = self.now;
        let is_read = matches!(command, Command::ReadPage { .. });
        let reply = if self.is_read_only && !is_read {
            Err(Trouble::ReadOnly)
        } else {
            self.remember_content(&command);
            if matches!(command, Command::Beat { .. }) {
                self.end_of_log(origin);
            }
            self.check_collection(&command);
            let reply = self.redis.execute(now, command.clone(), self.rules.scripts);
            self.check_set(&command);
            Ok(reply)
        };
        let is_lost = self.random.f64() < self.noise;
        if self.nodes[origin.node].reaches_redis && !is_lost {
            self.after(1..20, Event::Answered(origin, ticket, reply, now));
        }
    }

    pub(super) fn on_answered(
        &mut self,
        origin: Origin,
        ticket: Ticket,
        reply: Result<Reply, Trouble>,
        at: Duration,
    ) {
        let now = self.now;
        let is_listing = matches!(reply, Ok(Reply::Listing(_)));
        if let Some(running) = self.running_mut(origin)
            && is_listing
        {
            running.listed = running.listed.max(at);
            if now > running.listing_came + SETTINGS.outage {
                running.listings_since = now;
            }
            running.listing_came = now;
        }
        self.give(origin, Input::Reply(ticket, reply));
    }

    /// A beat brings the log's end: a reader beyond it begins there anew.
    pub(super) fn end_of_log(&mut self, origin: Origin) {
        let end = self.redis.last_id;
        if let Some(running) = self.running_mut(origin)
            && running.position.is_some_and(|position| position > end)
        {
            running.position = None;
        }
    }

    pub(super) fn poll_log(&mut self, origin: Origin) {
        let reaches = self.nodes[origin.node].reaches_redis && !self.is_down;
        let is_frozen = self.frozen.is_some();
        let end = self.redis.last_id;
        let Some(running) = self.nodes[origin.node].running.as_mut() else {
            return;
        };
        if running.boot != origin.boot {
            return;
        }
        if !reaches || is_frozen {
            if !reaches {
                running.position = None;
            }
            return self.after(50..300, Event::PollsLog(origin));
        }
        let Some(position) = running.position else {
            running.position = Some(end);
            let begin = Event::LogArrives(origin, Vec::new(), true);
            return self.after(1..20, begin);
        };
        let news = self.redis.log.iter().filter(|logged| logged.id > position);
        let news: Vec<_> = news.cloned().collect();
        let Some(last) = news.last() else {
            return self.after(10..60, Event::PollsLog(origin));
        };
        running.position = Some(last.id);
        let gap = news[0].previous != position;
        let batch = news
            .into_iter()
            .map(|logged| (logged.at, logged.delta))
            .collect();
        self.after(1..20, Event::LogArrives(origin, batch, gap));
    }

    pub(super) fn remember_content(&mut self, command: &Command) {
        let (boot, head) = match command {
            Command::Change(change) => (change.boot, &change.head),
            Command::Install { boot, head, .. } => (*boot, head),
            _ => return,
        };
        self.remember(boot, head.version, head.sum);
    }
}
