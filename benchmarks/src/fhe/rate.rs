//! tfhe's own rate: its shortint key switch and bootstrap, one at a time on each core.

use std::time::Instant;

use ai_link_fhe::ParameterSet;
use rayon::prelude::*;
use tfhe::shortint::parameters::v1_4::{
    V1_4_PARAM_MESSAGE_2_CARRY_1_KS_PBS_GAUSSIAN_2M128,
    V1_4_PARAM_MESSAGE_2_CARRY_2_KS_PBS_GAUSSIAN_2M128,
};

/// Bootstraps that each core does.
const EACH: usize = 24;

/// Bootstraps per second on all cores.
pub(super) fn tfhe(set: ParameterSet) -> f64 {
    let parameters = match set {
        ParameterSet::Ring1024 => V1_4_PARAM_MESSAGE_2_CARRY_1_KS_PBS_GAUSSIAN_2M128,
        ParameterSet::Ring2048 => V1_4_PARAM_MESSAGE_2_CARRY_2_KS_PBS_GAUSSIAN_2M128,
    };
    let (client, server) = tfhe::shortint::gen_keys(parameters);
    let table = server.generate_lookup_table(|x| x);
    let ciphertext = client.encrypt(1);
    let _ = server.apply_lookup_table(&ciphertext, &table);
    let cores = rayon::current_num_threads();
    let started = Instant::now();
    (0..cores).into_par_iter().for_each(|_| {
        for _ in 0..EACH {
            let _ = std::hint::black_box(server.apply_lookup_table(&ciphertext, &table));
        }
    });
    (cores * EACH) as f64 / started.elapsed().as_secs_f64()
}
