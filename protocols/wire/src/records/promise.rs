//! What a job's group protects, in words.

use super::{DealerSeat, Level, Ticket};

impl Ticket {
    /// What level and group of this ticket protect, and what they do not, as one sentence for people.
    pub fn promise(&self) -> String {
        match self.level {
            Level::Fhe => {
                "nobody but the application can learn input or output: the worker computed on \
                 ciphertexts; it knows the weights; that it computed what it was asked is not proven; \
                 model, time and number of records are not hidden"
                    .into()
            }
            Level::Sealed => {
                "exactly one worker, chosen by the application, learns the input".into()
            }
            Level::Mpc => {
                let weights = match self.sharing {
                    None => "",
                    Some(_) => {
                        "; nobody but their owner can learn the weights unless two of the three \
                         workers collude, beyond what outputs tell"
                    }
                };
                let what = match self.inputs.len() {
                    0 => "nobody but the application can learn input or output".to_owned(),
                    n => format!(
                        "nobody but the application can learn the output and inputs of its own, and nobody but \
                         their owners, the application neither, the {n} inputs from storage beyond what outputs tell,"
                    ),
                };
                let again = match self.inputs.is_empty() {
                    true => "",
                    false => ", or workers of several jobs on one stored input do likewise",
                };
                format!(
                    "{what} unless {}{again}{weights}; model, time and number of records are not hidden",
                    self.collusion()
                )
            }
        }
    }

    /// Who must collude to learn a masked input.
    fn collusion(&self) -> String {
        match (self.dealer, self.evaluators) {
            (DealerSeat::Worker, 2) => "two of the three workers collude".into(),
            (DealerSeat::Worker, n) => {
                format!("the dealer and an evaluator collude, or all {n} evaluators do")
            }
            (DealerSeat::Client, 2) => "both evaluators collude".into(),
            (DealerSeat::Client, n) => format!("all {n} evaluators collude"),
        }
    }
}
