//! Operators who revoke and restore, one for each group.
//!
//! In: chance. Out: what is forbidden, as far as they know, and receipts in the [`Record`].

use std::sync::Arc;
use std::time::Duration;

use fanfare_client::{OperatorClient, OperatorConfig, OperatorError};
use fanfare_protocol::admin::{Action, BanRow, Listing, OneAnswer, Page, Question, Receipt};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use crate::crowd::{BANNED, group_name, user};
use crate::machines::Machines;
use crate::record::Record;
use crate::{GROUPS, MACHINES};

/// The operators.
pub(crate) struct Operators {
    gate: Arc<RwLock<()>>,
    closed: Mutex<Option<OwnedRwLockWriteGuard<()>>>,
    known: Arc<Mutex<[Option<bool>; GROUPS]>>,
    configs: Vec<OperatorConfig>,
}

impl Operators {
    pub(crate) fn begin(machines: &Machines, record: &Arc<Record>, seed: u64) -> Self {
        let mut configs: Vec<_> = (0..MACHINES).map(|number| machines.operator(number)).collect();
        for config in &mut configs {
            config.connect_timeout = Duration::from_secs(3);
        }
        let gate = Arc::new(RwLock::new(()));
        let known = Arc::new(Mutex::new([Some(false); GROUPS]));
        for group in 0..GROUPS {
            let (configs, gate, known) = (configs.clone(), Arc::clone(&gate), Arc::clone(&known));
            let (record, random) = (Arc::clone(record), StdRng::seed_from_u64(seed + group as u64));
            let may_be_alone = machines.has_one_that_serves();
            tokio::spawn(operate(group, configs, gate, known, record, random, may_be_alone));
        }
        Self { gate, closed: Mutex::default(), known, configs }
    }

    /// Waits until what is being done is done, and has nothing begun.
    pub(crate) async fn pause(&self) {
        if self.closed.lock().is_none() {
            let guard = Arc::clone(&self.gate).write_owned().await;
            *self.closed.lock() = Some(guard);
        }
    }

    pub(crate) fn go_on(&self) {
        self.closed.lock().take();
    }

    /// What is forbidden, where they know it.
    pub(crate) fn known(&self) -> [Option<bool>; GROUPS] {
        *self.known.lock()
    }

    /// What a node answers.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        node: usize,
        request: &impl OneAnswer,
    ) -> Result<T, OperatorError> {
        let (client, _) = OperatorClient::connect(self.configs[node].clone()).await?;
        client.ask(request).await
    }

    /// What a node says is forbidden.
    pub(crate) async fn bans(&self, node: usize) -> Result<Vec<BanRow>, OperatorError> {
        let listing: Listing<BanRow> = self.ask(node, &Question::Bans(Page::default())).await?;
        let mut rows = listing.rows;
        rows.sort_by_key(|row| row.groups.as_ref().map(ToString::to_string));
        Ok(rows)
    }
}

async fn operate(
    group: usize,
    configs: Vec<OperatorConfig>,
    gate: Arc<RwLock<()>>,
    known: Arc<Mutex<[Option<bool>; GROUPS]>>,
    record: Arc<Record>,
    mut random: StdRng,
    may_be_alone: bool,
) {
    loop {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..1_500))).await;
        let _open = gate.read().await;
        let forbid = match known.lock()[group] {
            Some(true) => random.random_ratio(1, 4),
            _ => true,
        };
        let (user, groups) = (user(BANNED), group_name(group).parse().unwrap());
        let action = if forbid {
            Action::Revoke { user, groups, until: None, reason: "chaos".to_owned(), dry_run: false }
        } else {
            Action::Restore { user, groups, reason: String::new() }
        };
        if !forbid {
            record.lift(group);
        }
        let config = configs[random.random_range(0..MACHINES)].clone();
        let done: Result<Receipt, OperatorError> = match OperatorClient::connect(config).await {
            Ok((client, _)) => client.ask(&action).await,
            // Nothing was asked.
            Err(_) => {
                record.count(|totals| totals.failed += 1);
                continue;
            }
        };
        match done {
            Ok(receipt) => {
                let all =
                    !receipt.nodes.is_empty() && receipt.nodes.iter().all(|node| node.standing.is_fenced());
                // A node that serves alone can only lift what it knows of.
                known.lock()[group] = (forbid || all || !may_be_alone).then_some(forbid);
                match (forbid, all) {
                    (true, true) => record.fenced(group),
                    (true, false) => record.count(|totals| totals.unfenced += 1),
                    (false, _) => {}
                }
            }
            Err(_) => {
                known.lock()[group] = None;
                record.count(|totals| totals.failed += 1);
            }
        }
    }
}
