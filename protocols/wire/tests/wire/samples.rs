//! One honest job, from the request to the receipt.

use ai_link_wire::*;

pub const T0: UnixMillis = UnixMillis(1_700_000_000_000);
pub const T1: UnixMillis = UnixMillis(1_700_000_600_000);

/// The keys of all parties of one job.
pub struct Cast {
    pub client: Identity,
    pub coordinator: Identity,
    /// By [`place`] of their role.
    pub workers: [Identity; 4],
    /// Who evaluates.
    pub dealer: DealerSeat,
    pub evaluators: u8,
}

/// Two evaluators, the dealer, and a third evaluator where there is one.
pub fn place(role: Role) -> usize {
    match role {
        Role::Evaluator(number) if number.get() < 2 => number.get().into(),
        Role::Dealer => 2,
        Role::Evaluator(number) => usize::from(number.get()) + 1,
    }
}

impl Cast {
    pub fn new() -> Self {
        let of = |role| Identity::derive(b"samples", role);
        Self {
            client: of("client"),
            coordinator: of("coordinator"),
            workers: [
                of("evaluator0"),
                of("evaluator1"),
                of("dealer"),
                of("evaluator2"),
            ],
            dealer: DealerSeat::Worker,
            evaluators: 2,
        }
    }

    /// Three evaluators, and the client deals.
    pub fn client_deals() -> Self {
        Self {
            dealer: DealerSeat::Client,
            evaluators: 3,
            ..Self::new()
        }
    }

    pub fn roles(&self) -> Vec<Role> {
        Role::of_group(Level::Mpc, self.evaluators, self.dealer).unwrap()
    }

    pub fn operator(&self, role: Role) -> AccountId {
        AccountId([100 + place(role) as u8; 32])
    }

    /// The job, accepted and acknowledged.
    pub fn claim(&self) -> JobClaim {
        let mut ticket = self.ticket();
        ticket.sign_terms(&self.coordinator);
        JobClaim {
            acceptance: Acceptance::sign(&self.client, &ticket, Planck(300)),
            acknowledgement: Some(Acknowledgement::sign(
                &self.coordinator,
                &ticket,
                Planck(300),
                T1,
            )),
            ticket: Signed::sign(&self.coordinator, ticket, T0, T1).unwrap(),
        }
    }

    /// The same, settled as the third of five.
    pub fn proof(&self) -> JobProof {
        let claim = self.claim();
        let ticket = claim.ticket.verify_at_any_time().unwrap();
        let leaves: Vec<_> = (0..5)
            .map(|i| Leaf {
                job: ticket.job,
                terms: ticket.terms().id(),
                receipt: Digest([i; 32]),
            })
            .collect();
        JobProof {
            settled: EpochProof::of(3, &leaves, 2),
            claim,
        }
    }

    pub fn ticket(&self) -> Ticket {
        let pay = |account, amount, reason| Payout {
            account,
            amount: Planck(amount),
            reason,
        };
        Ticket {
            job: JobId([7; 16]),
            attempt: 0,
            client: self.client.account(),
            coordinator: self.coordinator.account(),
            model: ModelName::new("digits-cnn").unwrap(),
            version: ModelVersion(1),
            commitment: Commitment([3; 32]),
            manifest: Fid([4; 32]),
            level: Level::Mpc,
            dealer: self.dealer,
            evaluators: self.evaluators,
            sharing: None,
            inputs: vec![],
            batch: 10,
            group: self
                .roles()
                .into_iter()
                .map(|role| GroupMember {
                    role,
                    peer: self.workers[place(role)].peer_key(),
                    operator: self.operator(role),
                    addresses: vec!["/ip4/127.0.0.1/tcp/4001".parse().unwrap()],
                })
                .collect(),
            price: Planck(100),
            payouts: vec![
                pay(self.operator(self.roles()[0]), 30, PayoutReason::Evaluator),
                pay(self.operator(self.roles()[1]), 30, PayoutReason::Evaluator),
                pay(
                    self.operator(self.roles()[2]),
                    20,
                    match self.dealer {
                        DealerSeat::Worker => PayoutReason::Dealer,
                        DealerSeat::Client => PayoutReason::Evaluator,
                    },
                ),
                pay(AccountId([9; 32]), 15, PayoutReason::ModelOwner),
                pay(self.coordinator.account(), 5, PayoutReason::Coordinator),
            ],
            deadline: T1,
            terms_signature: SignatureBytes([8; 64]),
        }
    }

    pub fn signed_ticket(&self) -> Signed<Ticket> {
        Signed::sign(&self.coordinator, self.ticket(), T0, T1).unwrap()
    }

    pub fn worker_receipt(&self, role: Role, ticket: &Signed<Ticket>) -> WorkerReceipt {
        WorkerReceipt {
            ticket: ticket.digest(),
            role,
            commitment: Commitment([3; 32]),
            input: Digest::of(b"masked input"),
            output: Digest::of(b"masked output"),
            bytes_sent: Bytes(1000),
            bytes_received: Bytes(2000),
            rounds: 12,
            started: T0,
            finished: T1,
        }
    }

    pub fn job_receipt(&self) -> JobReceipt {
        self.job_receipt_for(self.signed_ticket())
    }

    pub fn job_receipt_for(&self, ticket: Signed<Ticket>) -> JobReceipt {
        let workers = self
            .roles()
            .into_iter()
            .map(|role| {
                let receipt = self.worker_receipt(role, &ticket);
                Signed::sign(&self.workers[place(role)], receipt, T0, T1).unwrap()
            })
            .collect();
        JobReceipt {
            ticket,
            workers,
            price: Planck(100),
            finished: T1,
        }
    }

    pub fn countersign(&self, receipt: JobReceipt) -> Signed<JobReceipt> {
        Signed::sign(&self.client, receipt, T0, T1).unwrap()
    }

    pub fn worker_record(&self) -> WorkerRecord {
        WorkerRecord {
            peer: self.workers[0].peer_key(),
            operator: self.operator(Role::EVALUATOR_0),
            addresses: vec!["/ip4/127.0.0.1/udp/4001/quic-v1".parse().unwrap()],
            roles: RoleSet::ALL,
            levels: vec![Level::Mpc, Level::Sealed],
            regions: vec![Region::new("eu").unwrap(), Region::new("eu-de").unwrap()],
            site: LocationText::new(r#"{"country":"DE"}"#),
            cores: 8,
            memory: Bytes::mib(4096),
            cached_models: vec![Commitment([3; 32])],
            price_per_job: Planck(30),
            software: "ai-link 0.1.0".into(),
        }
    }

    pub fn job_request(&self) -> JobRequest {
        JobRequest {
            job: JobId([7; 16]),
            attempt: 0,
            client: self.client.account(),
            model: ModelName::new("digits-cnn").unwrap(),
            version: None,
            level: Level::Mpc,
            purpose: Purpose::Commercial,
            dealer: self.dealer,
            evaluators: self.evaluators,
            weights: WeightPrivacy::Public,
            key: Some(Digest([8; 32])),
            trusted: None,
            batch: 10,
            max_price: Planck::ail(1),
            regions: vec![],
            inputs: vec![self.stored_input()],
            seats: Seats {
                dealers: vec![PeerKey([1; 32])],
                evaluators: vec![PeerKey([2; 32]), PeerKey([3; 32])],
            },
            policies: vec![LocationText::new("{}").unwrap()],
            exclude: vec![PeerKey([1; 32])],
            deadline: T1,
        }
    }

    pub fn stored_input(&self) -> StoredInput {
        StoredInput {
            port: 1,
            input: Digest([11; 32]),
        }
    }

    pub fn shared_input(&self) -> Signed<SharedInput> {
        let input = SharedInput {
            seed: Fid([1; 32]),
            masked: Fid([2; 32]),
            shape: vec![10, 3],
            fraction_bits: 16,
            policy: LocationText::new(r#"{"allow-countries":["EU"]}"#),
        };
        Signed::sign(&self.client, input, T0, T1).unwrap()
    }

    pub fn input_part(&self) -> InputPart {
        InputPart {
            port: 1,
            record: self.shared_input(),
            grant: GrantBytes::new(vec![7; 300]).unwrap(),
        }
    }

    /// A message of every kind.
    pub fn requests(&self) -> Vec<ControlRequest> {
        let worker = &self.workers[0];
        let heartbeat = Heartbeat {
            peer: worker.peer_key(),
            active_jobs: 1,
            capacity: 4,
            cached_models: vec![Commitment([3; 32])],
            pools: vec![PoolOffer {
                pool: PoolTag([6; 32]),
                commitment: Commitment([3; 32]),
                batch: 8,
                group: self.workers.iter().map(Identity::peer_key).collect(),
                level: 100,
            }],
            hosted: vec![HostedWeights {
                model: ModelName::new("digits-cnn").unwrap(),
                version: ModelVersion(1),
                commitment: Commitment([3; 32]),
                sharing: Digest([5; 32]),
                role: Role::EVALUATOR_0,
                group: [0, 1, 2].map(|i| self.workers[i].peer_key()),
            }],
            keys: vec![Digest([8; 32])],
            inputs: vec![Digest([9; 32])],
        };
        let culprits = vec![worker.peer_key()];
        let failure = JobFailure::new(
            JobId([7; 16]),
            0,
            self.client.account(),
            culprits,
            "no answer",
        );
        vec![
            ControlRequest::Register(Signed::sign(worker, self.worker_record(), T0, T1).unwrap()),
            ControlRequest::Heartbeat(Signed::sign(worker, heartbeat, T0, T1).unwrap()),
            ControlRequest::Match(Signed::sign(&self.client, self.job_request(), T0, T1).unwrap()),
            ControlRequest::Complete {
                receipt: self.countersign(self.job_receipt()),
                voucher: Voucher::sign(&self.client, self.coordinator.account(), Planck(100)),
                acceptance: SignatureBytes([9; 64]),
            },
            ControlRequest::Proof(JobId([7; 16])),
            ControlRequest::Unsettled,
            ControlRequest::Accepted(Box::new(self.claim())),
            ControlRequest::Fail(Signed::sign(&self.client, failure, T0, T1).unwrap()),
            ControlRequest::Job(JobId([7; 16])),
            ControlRequest::Info,
            ControlRequest::Hosts(HostsRequest {
                model: ModelName::new("digits-cnn").unwrap(),
                version: ModelVersion(1),
                named: vec![PeerKey([1; 32]); 3],
                exclude: vec![PeerKey([2; 32])],
            }),
            ControlRequest::Holders(Held::Model(Commitment([3; 32]))),
            ControlRequest::Holders(Held::Input(Digest([9; 32]))),
            ControlRequest::Quote(Signed::sign(&self.client, self.job_request(), T0, T1).unwrap()),
            ControlRequest::Explain(None),
            ControlRequest::Explain(Some(JobId([7; 16]))),
        ]
    }

    /// An answer of every kind.
    pub fn responses(&self) -> Vec<ControlResponse> {
        let reasons = [
            RefusalReason::NotRegisteredOnChain,
            RefusalReason::BondTooLow {
                have: Planck(1),
                need: Planck(2),
            },
            RefusalReason::Stale {
                last_seen_ms: 90_000,
            },
            RefusalReason::AtCapacity {
                active: 4,
                capacity: 4,
            },
            RefusalReason::PriceTooHigh {
                have: Planck(3),
                max: Planck(2),
            },
            RefusalReason::NoGrant,
            RefusalReason::location("it is in US"),
        ];
        vec![
            ControlResponse::Registered {
                heartbeat_every_ms: 1000,
            },
            ControlResponse::HeartbeatOk,
            ControlResponse::Ticket(self.signed_ticket()),
            ControlResponse::NoMatch {
                reasons: reasons
                    .into_iter()
                    .map(|reason| CandidateRefusal {
                        peer: self.workers[0].peer_key(),
                        operator: self.operator(Role::Dealer),
                        reason,
                    })
                    .collect(),
            },
            ControlResponse::Completed {
                already: AlreadyKnown::Yes,
            },
            ControlResponse::FailureNoted,
            ControlResponse::Holders(vec![
                Holder {
                    peer: self.workers[0].peer_key(),
                    addresses: self.worker_record().addresses,
                };
                MAX_HOLDERS
            ]),
            ControlResponse::AcceptanceNoted,
            ControlResponse::Proof(None),
            ControlResponse::Proof(Some(Box::new(self.proof()))),
            ControlResponse::Unsettled(vec![UnsettledJob {
                job: JobId([7; 16]),
                client: self.client.account(),
                price: Planck(100),
                payouts: self.ticket().payouts,
                since: T0,
            }]),
            ControlResponse::Job(None),
            ControlResponse::Job(Some(JobStatus {
                job: JobId([7; 16]),
                state: JobState::Settled { epoch: 3 },
                attempts: vec![AttemptStatus {
                    attempt: 0,
                    group: self.workers.iter().map(Identity::peer_key).collect(),
                    state: JobState::Refunded {
                        why: "no answer".into(),
                    },
                    matched_at: T0,
                }],
                price: Planck(100),
            })),
            ControlResponse::Info(CoordinatorInfo {
                account: self.coordinator.account(),
                fee: Planck(5),
                voucher_cumulative: Planck(100),
                voucher: Some(Voucher::sign(
                    &self.client,
                    self.coordinator.account(),
                    Planck(100),
                )),
                workers: 3,
            }),
            ControlResponse::Refused(Refusal::InsufficientEscrow {
                have: Planck(1),
                need: Planck(u128::MAX),
            }),
            ControlResponse::Refused(Refusal::malformed("x".repeat(1000))),
            ControlResponse::Refused(Refusal::NotHosted {
                model: ModelName::new("digits-cnn").unwrap(),
                version: ModelVersion(1),
            }),
            ControlResponse::Hosts(self.ticket().group),
            ControlResponse::Quoted(Box::new(self.explanation().decisions.remove(0))),
            ControlResponse::Explained(None),
            ControlResponse::Explained(Some(Box::new(self.explanation()))),
        ]
    }

    /// One with a decision and a verdict of every kind.
    fn explanation(&self) -> Explanation {
        let score = Score {
            price: 1,
            load: 2,
            cached: 3,
            reliability: 4,
            key: 5,
            inputs: 7,
            chance: 6,
        };
        let verdicts = [
            Verdict::Chosen {
                role: Role::Dealer,
                price: Planck(3),
                score,
            },
            Verdict::Passed {
                price: Planck(4),
                score,
                why: PassedOver::Outscored,
            },
            Verdict::Refused(RefusalReason::NotTrusted),
        ];
        let weighed = verdicts.into_iter().map(|verdict| Weighed {
            peer: self.workers[0].peer_key(),
            operator: self.operator(Role::Dealer),
            verdict,
        });
        let candidates: Vec<_> = weighed.collect();
        let outcomes = [
            Outcome::Matched {
                version: ModelVersion(1),
                price: self.ticket().price,
                payouts: self.ticket().payouts,
            },
            Outcome::NoMatch,
            Outcome::Refused(Refusal::Expired),
        ];
        let decisions = outcomes.into_iter().map(|outcome| Decision {
            attempt: 1,
            at: T0,
            model: ModelName::new("digits-cnn").unwrap(),
            level: Level::Mpc,
            batch: 2,
            max_price: Planck(9),
            budget: Planck(8),
            explored: false,
            outcome,
            candidates: candidates.clone(),
            unlisted: 0,
        });
        Explanation {
            job: JobId([7; 16]),
            status: None,
            decisions: decisions.collect(),
        }
    }
}
