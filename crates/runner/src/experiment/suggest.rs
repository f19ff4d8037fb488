//! What a name that is not known may have meant.

/// What people type who come from other programs, and what it is called here.
const SYNONYMS: [(&str, &str); 30] = [
    ("attn_resolutions", "attention"),
    ("attention_resolutions", "attention"),
    ("batch_size", "batch"),
    ("beta_schedule", "schedule"),
    ("ch", "channels"),
    ("ch_mult", "multipliers"),
    ("channel_mult", "multipliers"),
    ("channels_mult", "multipliers"),
    ("dataset", "data"),
    ("dim_mults", "multipliers"),
    ("ema", "ema_decay"),
    ("ema_rate", "ema_decay"),
    ("epsilon", "eps"),
    ("grad_clip", "clip_norm"),
    ("iterations", "steps"),
    ("loss", "objective"),
    ("loss_type", "objective"),
    ("lr", "learning_rate"),
    ("mean", "mu"),
    ("model", "network"),
    ("mse", "simple"),
    ("noise", "eps"),
    ("num_res_blocks", "blocks"),
    ("num_samples", "count"),
    ("num_timesteps", "timesteps"),
    ("sample", "x0"),
    ("t", "timesteps"),
    ("v_prediction", "v"),
    ("warmup", "warmup_steps"),
    ("x_0", "x0"),
];

/// The known name that was probably meant: a synonym from another program, or the closest match; otherwise all known names.
pub fn suggestion(name: &str, known: &[&str]) -> String {
    let typed = name.to_lowercase();
    let meant = SYNONYMS.iter().find(|(word, meant)| *word == typed && known.contains(meant)).map(|(_, meant)| *meant);
    let nearest = known.iter().map(|k| (strsim::damerau_levenshtein(name, k), *k)).min();
    let near = nearest.filter(|(distance, _)| *distance <= 2.max(name.len() / 3)).map(|(_, near)| near);
    match meant.or(near) {
        Some(name) => format!(" (did you mean {name}?)"),
        None if known.is_empty() => " (no key is known here)".into(),
        None => format!(" (known: {})", known.join(", ")),
    }
}

/// A path with one more key.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_programs_words_come_before_near_ones() {
        for (typed, known, meant) in [
            ("epsilon", &["eps", "x0", "v", "mu"][..], " (did you mean eps?)"),
            ("lr", &["beta1", "learning_rate"], " (did you mean learning_rate?)"),
            ("loss", &["objective", "variance"], " (did you mean objective?)"),
            ("channels_mult", &["channels", "multipliers"], " (did you mean multipliers?)"),
            ("EMA", &["ema_decay", "beta1"], " (did you mean ema_decay?)"),
            // Where that is no name here, the nearest one.
            ("loss", &["less"], " (did you mean less?)"),
            ("elephant", &["a", "b"], " (known: a, b)"),
            ("elephant", &[], " (no key is known here)"),
        ] {
            assert_eq!(suggestion(typed, known), meant, "{typed}");
        }
    }
}
