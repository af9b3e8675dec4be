//! What operators do to workers. Every action is logged.

use std::sync::Arc;

use super::members::Member;
use super::unknown;
use crate::coordinator::core::Core;
use crate::protocol::{
    ControlCommand, EventKind, FaultSettings, Problem, ProblemCode, WorkerAction, WorkerActionReply, WorkerId,
};
use crate::scheduler::{Event, Hold};

impl Core {
    /// Kill, revive, drain or resume. What a killed worker holds goes elsewhere at once, before the
    /// kill is confirmed.
    pub(crate) fn act(self: &Arc<Self>, id: &WorkerId, action: WorkerAction) -> Result<WorkerActionReply, Problem> {
        let (command, hold) = match action {
            WorkerAction::Kill => (ControlCommand::Kill, Hold::Kill),
            WorkerAction::Revive => (ControlCommand::Revive, Hold::Free),
            WorkerAction::Drain => (ControlCommand::Drain, Hold::Drain),
            WorkerAction::Resume => (ControlCommand::Resume, Hold::Free),
        };
        let mut state = self.lock();
        let key = state.members.key(id).ok_or_else(|| unknown(id))?;
        let member = state.members.get(key).ok_or_else(|| unknown(id))?;
        send(member, command)?;
        tracing::info!(target: "aiq::audit", worker = id.as_str(), action = action.as_str(), "operator acted");
        self.events.publish(|| EventKind::Operator { worker: id.clone(), action });
        let before = state.scheduler.worker(self.now(), key).map_or(0, |w| w.in_flight);
        let mut ended = Vec::new();
        self.drive(&mut state, self.now(), Event::WorkerHeld { worker: key, hold }, &mut ended);
        let after = state.scheduler.worker(self.now(), key);
        drop(state);
        self.finish_all(&mut ended);
        let after = after.ok_or_else(|| unknown(id))?;
        Ok(WorkerActionReply {
            worker_id: id.clone(),
            state: after.state,
            rerouted: before.saturating_sub(after.in_flight),
        })
    }

    /// Sets the faults that a worker injects.
    pub(crate) fn set_faults(&self, id: &WorkerId, faults: &FaultSettings) -> Result<(), Problem> {
        let mut state = self.lock();
        let member = state.members.by_name_mut(id).ok_or_else(|| unknown(id))?;
        if !member.fault_injection() {
            let detail = format!("fault injection is off on {id}; start that worker with --faults to allow it");
            return Err(Problem::new(ProblemCode::Forbidden, detail));
        }
        send(member, ControlCommand::SetFaults { faults: faults.clone() })?;
        member.expect_faults(faults.clone());
        tracing::info!(target: "aiq::audit", worker = id.as_str(), ?faults, "operator set faults");
        self.events.publish(|| EventKind::FaultsSet { worker: id.clone(), any: faults.any() });
        Ok(())
    }
}

fn send(member: &Member, command: ControlCommand) -> Result<(), Problem> {
    let id = &member.registration.worker_id;
    let conflict = |why: &str| Err(Problem::new(ProblemCode::Conflict, format!("{id} {why}")));
    let Some(control) = &member.control else {
        return conflict("has no control stream: it did not register itself, or is not connected now");
    };
    control.sender.try_send(command).or_else(|_| conflict("does not read its commands"))
}
