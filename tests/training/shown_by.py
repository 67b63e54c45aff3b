"""Keys whose effect a tiny training run cannot show, with the tests that show it."""

TESTS: dict[str, dict[str, str]] = {
    "checks/test_doctor.py": {
        "test_training_goes_on_if_it_is_told_to": "data_checks",
    },
    "config/test_data_rules.py": {
        "test_keys_that_do_not_go_together_are_refused": "pretrain_multipack_attn",
    },
    "data/formats/test_chat.py": {
        "test_roles_to_train_knows_the_other_names_of_a_role": "datasets[].roles",
    },
    "data/formats/test_instruct.py": {
        "test_columns_can_be_renamed_in_every_type_that_has_them": "datasets[].field_system",
    },
    "data/formats/test_preference.py": {
        "test_other_names_of_keys_and_roles": "datasets[].field_chosen datasets[].field_rejected",
    },
    "data/formats/test_raw.py": {
        "test_a_long_answer_is_cut_to_max_completion_length": "datasets[].max_completion_length",
        "test_the_label_of_a_step_stands_at_its_separator": "datasets[].train_on_last_step_only",
        "test_without_a_separator_the_label_stands_at_the_last_token_of_the_step": "datasets[].step_separator",
    },
    "data/formats/test_sharegpt.py": {
        "test_a_system_text_can_be_set_for_rows_without_one": "default_system_message",
        "test_other_columns_and_names_can_be_set": "datasets[].field_human datasets[].field_model",
    },
    "data/test_filters.py": {
        "test_rows_that_fail_are_left_out_counted_and_written_with_their_reasons": "datasets[].filters",
        "test_the_time_limit_of_the_config_holds": "evaluation.assertion_seconds",
    },
    "data/test_folders.py": {
        "test_data_files_are_names_patterns_lists_of_them_or_a_mapping_of_splits": (
            "datasets[].data_files datasets[].split"
        ),
    },
    "data/test_mistral.py": {
        "test_without_the_package_a_note_names_the_source_and_the_package_once": "tokenizer_use_mistral_common",
    },
    "data/test_prepare.py": {
        "test_a_file_may_be_read_as_far_as_the_run_needs_it": "streaming",
        "test_prepared_data_lie_where_the_config_says": "dataset_prepared_path",
        "test_a_token_that_is_missing_ends_the_run_before_any_reading": "hf_use_auth_token",
        "test_bad_rows_error_ends_at_the_first": "bad_rows",
        "test_each_dataset_may_be_shuffled_by_itself": "shuffle_before_merging_datasets",
        "test_samples_that_are_the_same_are_kept_once": "dataset_exact_deduplication",
    },
    "data/test_source.py": {
        "test_ds_type_says_what_a_strange_name_holds": "datasets[].ds_type",
        "test_jsonl_rows_carry_their_file_and_line": "datasets[].path",
        "test_the_keys_of_a_dataset_of_the_hub_reach_the_library": (
            "datasets[].name datasets[].revision datasets[].streaming"
        ),
    },
    "data/test_splits.py": {
        "test_test_rows_have_a_length_of_their_own": "eval_sequence_len",
        "test_the_parts_of_the_prepared_data_make_the_whole": "dataset_shard_num dataset_shard_idx",
    },
    "data/test_tokenizer.py": {
        "test_added_tokens_are_one_token_each_and_come_back": "special_tokens.additional_special_tokens",
    },
    "evals/test_evaluate.py": {
        "test_answers_are_what_the_model_says_to_the_rows_prompts": "evaluation.max_new_tokens",
        "test_rows_and_answers_at_once_are_as_many_as_asked_for": "evaluation.max_rows evaluation.batch_size",
        "test_the_assertions_judge_every_answer": "evaluation.assertions",
    },
    "evals/test_judge.py": {
        "test_critiques_to_learn_from_are_shown_as_turns_and_rubrics_may_be_files": "judge.rubric judge.examples",
        "test_keys_of_the_endpoint_arrive_in_the_request": (
            "judge.endpoint.model judge.endpoint.temperature judge.endpoint.max_tokens"
        ),
        "test_labels_may_name_answers_by_id": "judge.labels",
    },
    "evals/test_served.py": {
        "test_a_served_model_is_fed_the_trained_tokens_and_says_what_it_says_here": (
            "evaluation.endpoint.model evaluation.endpoint.base_url"
        ),
        "test_a_server_that_takes_text_alone_is_fed_the_trained_tokens_too": "evaluation.endpoint.concurrency",
        "test_replies_are_reused_only_from_a_cache_that_the_user_names": "evaluation.endpoint.cache",
        "test_vllm_is_started_with_the_adapter_asked_and_ended": "evaluation.backend",
        "test_a_limit_ends_the_evaluation_and_the_next_one_goes_on": (
            "evaluation.endpoint.max_requests evaluation.endpoint.max_cost"
        ),
        "test_what_does_not_go_together_is_refused": ("evaluation.endpoint.temperature evaluation.endpoint.max_tokens"),
    },
    "evals/test_metrics.py": {
        "test_a_list_in_yaml_may_have_a_pattern_without_quotes": "evaluation.metrics",
    },
    "generation/test_endpoint.py": {
        "test_a_limit_stops_cleanly_and_the_next_run_goes_on": "judge.endpoint.max_requests judge.endpoint.max_cost",
        "test_pauses_grow": "generate.endpoint.retries judge.endpoint.retries evaluation.endpoint.retries",
        "test_replies_come_as_they_are_made_and_in_bounds": (
            "generate.endpoint.base_url generate.endpoint.concurrency generate.endpoint.input_cost "
            "generate.endpoint.output_cost judge.endpoint.base_url judge.endpoint.concurrency "
            "judge.endpoint.input_cost judge.endpoint.output_cost evaluation.endpoint.input_cost "
            "evaluation.endpoint.output_cost"
        ),
        "test_requests_per_minute": (
            "generate.endpoint.requests_per_minute judge.endpoint.requests_per_minute "
            "evaluation.endpoint.requests_per_minute"
        ),
        "test_the_key_stays_out_of_the_cache": "generate.endpoint.cache judge.endpoint.cache",
        "test_what_cannot_heal_ends_the_run_at_once": (
            "generate.endpoint.api_key_env judge.endpoint.api_key_env evaluation.endpoint.api_key_env"
        ),
        "test_what_may_heal_is_tried_again": (
            "generate.endpoint.timeout judge.endpoint.timeout evaluation.endpoint.timeout"
        ),
    },
    "generation/test_refusal.py": {
        "test_fields_are_left_out_from_the_start": (
            "generate.endpoint.omit_fields judge.endpoint.omit_fields evaluation.endpoint.omit_fields"
        ),
    },
    "modeling/test_adapters.py": {
        "test_an_adapter_may_begin_at_random": "peft_init_lora_weights",
        "test_bare_parameters_of_experts_are_adapted": "lora_target_parameters",
        "test_of_lists_within_lists_the_pattern_names_the_blocks": "peft_layers_pattern",
        "test_every_setting_reaches_peft": "lora_fan_in_fan_out",
        "test_rows_of_single_tokens_are_trained": "peft_trainable_token_indices",
        "test_single_blocks_can_be_adapted": "peft_layers_to_transform",
        "test_single_layers_may_have_ranks_and_alphas_of_their_own": "lora_rank_pattern lora_alpha_pattern",
        "test_target_linear_adapts_every_linear_layer_but_the_head": "lora_target_linear",
        "test_the_bits_of_loftq_reach_peft_on_a_gpu": "peft.loftq_config.loftq_bits",
        "test_tied_embeddings_stay_so_unless_they_are_not_to": "peft_ensure_weight_tying",
    },
    "modeling/test_base_model.py": {
        "test_gptq_weights_say_what_they_need_when_they_are_loaded": "gptq",
        "test_a_model_is_loaded_in_the_format_asked_for": "base_model",
        "test_a_quantised_model_computes_nearly_the_same": "load_in_4bit load_in_8bit",
        "test_arguments_of_from_pretrained_are_passed_on": "overrides_of_model_kwargs",
        "test_classes_can_be_named": "cls_model_config type_of_model",
        "test_code_that_comes_with_a_model_runs_only_if_it_is_trusted": "trust_remote_code",
        "test_random_weights_have_the_shape_of_the_model": "reinit_weights",
        "test_revision_and_quantisation_reach_the_library": (
            "revision_of_model model_quantization_config model_quantization_config_kwargs"
        ),
        "test_settings_of_bitsandbytes_change_the_quantisation": "bnb_config_kwargs",
        "test_settings_of_the_model_config_change_what_it_computes": "overrides_of_model_config",
        "test_the_code_of_experts_can_be_chosen": "experts_implementation",
        "test_the_config_may_lie_elsewhere": "base_model_config",
    },
    "modeling/test_embeddings.py": {
        "test_embeddings_grow_with_the_tokenizer": "tokens resize_token_embeddings_to_32x",
        "test_embeddings_shrink_only_if_asked": "shrink_embeddings",
        "test_new_rows_can_begin_near_the_mean": "mean_resizing_embeddings",
        "test_untrained_tokens_begin_at_the_mean_of_the_others": "fix_untrained_tokens",
    },
    "modeling/test_precision.py": {
        "test_formats_follow_from_the_config_and_the_machine": "fp16 float16",
        "test_tf32_is_set_on_nvidia_gpus_only": "tf32",
    },
    "modeling/test_model_tokenizer.py": {
        "test_a_reserved_token_has_the_text_of_the_config": "added_tokens_overrides",
        "test_the_special_tokens_are_those_of_the_config": (
            "special_tokens.bos_token special_tokens.eos_token special_tokens.pad_token special_tokens.unk_token"
        ),
        "test_the_tokenizer_may_lie_elsewhere": "tokenizer_config",
    },
    "curation/test_curate.py": {
        "test_a_rule_is_undone_and_a_bound_moved_without_a_second_look": "curate.keep curate.near_duplicates",
        "test_bounds_in_tokens_are_those_of_the_model": "curate.min_tokens curate.max_tokens",
        "test_columns_that_count": "curate.columns curate.leak_columns",
        "test_complexity_is_the_number_of_different_words_or_a_function": (
            "curate.complexity curate.min_complexity curate.max_complexity"
        ),
        "test_pairs_of_columns": "curate.dedup_keys",
        "test_rows_that_mean_the_same_are_out_and_the_rule_is_undone": (
            "curate.embedding_model curate.embedding_likeness"
        ),
        "test_planted_rows_are_caught_with_the_right_reason_and_all_others_stay": (
            "curate.max_chars curate.min_chars curate.assertions curate.output"
        ),
    },
    "synth/test_generated_rows.py": {
        "test_a_dry_run_shows_the_prompt_and_asks_nothing": "generate.prompt generate.seeds_per_prompt",
        "test_a_limit_stops_and_the_next_run_goes_on": "generate.endpoint.max_requests",
        "test_a_limit_of_the_cost_stops": "generate.endpoint.max_cost",
        "test_a_row_goes_back_as_often_as_asked_for": "generate.heal",
        "test_another_seed_draws_other_seeds": "generate.seed",
        "test_keys_of_the_endpoint_arrive_in_the_request": (
            "generate.endpoint.model generate.endpoint.temperature generate.endpoint.max_tokens"
        ),
        "test_rows_are_made_with_their_provenance_and_train": "generate.seeds generate.rows generate.output",
        "test_rows_fit_the_schema": "generate.row_schema",
        "test_rows_that_say_nearly_the_same_are_out": "generate.near_duplicates",
        "test_the_judge_has_the_last_word": "generate.judge",
        "test_what_is_wrong_goes_back_with_the_reason_and_is_given_up_in_the_end": "generate.assertions",
    },
    "training/test_answering.py": {
        "test_each_key_changes_the_samples": (
            "num_generation_samples generation_max_new_tokens generation_prompt_ratio generation_temperature "
            "generation_do_sample generation_top_k generation_top_p"
        ),
        "test_scores_are_metrics_of_the_evaluation": "do_causal_lm_eval eval_causal_lm_metrics",
        "test_the_share_that_passes_is_logged_and_training_does_not_notice": "evaluation.during_training",
        "test_training_does_not_notice": "generate_samples",
    },
    "training/test_training_arguments.py": {
        "test_a_key_arrives_in_the_arguments_of_the_trainer": (
            "torch_empty_cache_steps eval_batch_size ddp_find_unused_parameters"
        ),
        "test_memory_is_pinned_for_a_gpu_as_set": "dataloader_pin_memory",
    },
    "training/test_callbacks.py": {
        "test_checkpoints_and_a_trace_are_made_when_asked_for": (
            "save_only_model save_first_step dynamic_checkpoint.enabled dynamic_checkpoint.check_interval "
            "dynamic_checkpoint.trigger_file_path"
        ),
        "test_python_collects_each_so_many_steps": "gc_collect_steps",
        "test_the_trace_has_the_steps_that_were_asked_for": "profiler_steps profiler_steps_start",
    },
    "training/runtime/test_distribution.py": {
        "test_a_split_model_trains_evaluates_saves_and_goes_on_as_a_whole_one": "fsdp_config.state_dict_type",
        "test_both_forms_of_fsdp_become_version_2": (
            "fsdp fsdp_version fsdp_config.activation_checkpointing fsdp_config.cpu_ram_efficient_loading "
            "fsdp_config.offload_params fsdp_config.reshard_after_forward "
            "fsdp_config.transformer_layer_cls_to_wrap"
        ),
        "test_copies_of_a_split_model": "dp_replicate_size dp_shard_size",
        "test_deepspeed_settings_reach_the_trainer_on_several_gpus": "deepspeed",
        "test_layers_are_shared_by_no_processes": "context_parallel_size tensor_parallel_size expert_parallel_size",
        "test_the_ddp_keys_reach_the_trainer": (
            "ddp_timeout ddp_bucket_cap_mb ddp_broadcast_buffers average_tokens_across_devices"
        ),
        "test_the_strategy_says_whether_weights_are_freed": "fsdp_config.sharding_strategy",
        "test_what_is_split_and_the_version_reach_the_library": (
            "fsdp_config.fsdp_version fsdp_config.auto_wrap_policy fsdp_config.min_num_params"
        ),
    },
    "training/runtime/test_kernels.py": {
        "test_compilation_is_for_gpus_and_rows_of_one_length": "torch_compile torch_compile_backend torch_compile_mode",
        "test_cut_cross_entropy_is_done_by_ligers_kernel": "cut_cross_entropy",
        "test_each_part_of_liger_has_a_key_and_needs_the_plugin": (
            "plugins liger_rope liger_rms_norm liger_layer_norm liger_glu_activation liger_cross_entropy "
            "liger_fused_linear_cross_entropy"
        ),
    },
    "training/test_learning_curve.py": {
        "test_a_smaller_share_lies_in_a_larger_one_and_the_held_out_rows_stay": "train_share",
    },
    "training/optim/test_lisa.py": {
        "test_the_blocks_may_lie_elsewhere": "lisa_layers_attribute",
    },
    "training/test_methods_run.py": {
        "test_the_best_is_chosen_by_the_metric_and_its_direction": "metric_for_best_model greater_is_better",
        "test_the_eval_loss_stays_the_mean_over_tokens_when_the_training_loss_is_weighted": (
            "use_eaft eaft_alpha eaft_k"
        ),
    },
    "training/optim/test_optimizers.py": {
        "test_a_learning_rate_for_nothing_is_refused": "lr_groups[].name",
        "test_came_has_its_own_keys": "adam_beta3 adam_epsilon2",
        "test_galore_projects_the_named_modules": "optim_target_modules",
        "test_groups_of_weights_with_a_learning_rate_of_their_own": "lr_groups[].modules lr_groups[].lr",
        "test_learning_rates_of_embeddings_and_head": "embedding_lr embedding_lr_scale",
        "test_loraplus_has_the_learning_rates_of_peft": "loraplus_lr_ratio loraplus_lr_embedding",
    },
    "training/test_order.py": {
        "test_batches_are_loaded_as_the_keys_say": (
            "accelerator_config dataloader_num_workers dataloader_prefetch_factor"
        ),
        "test_curriculum_takes_the_rows_in_their_order": "curriculum_sampling",
        "test_rows_of_like_length_share_a_batch": "group_by_length",
        "test_sequential_packing_keeps_neighbours_together": "sample_packing_sequentially",
        "test_the_last_batch_is_left_out_if_it_is_not_full": "dataloader_drop_last",
    },
    "training/test_preference_run.py": {
        "test_each_key_changes_the_loss": (
            "rl_beta dpo_loss_type dpo_loss_weights dpo_label_smoothing dpo_use_weighting orpo_alpha simpo_gamma "
            "cpo_alpha kto_desirable_weight kto_undesirable_weight"
        ),
        "test_each_kind_learns_to_tell_the_answers_apart": "rl",
    },
    "training/record/test_publish.py": {
        "test_checkpoints_and_the_result_with_record_and_card_are_pushed": "hub_model_id hub_strategy hub_revision",
    },
    "training/test_resume.py": {
        "test_a_checkpoint_under_another_name_is_resumed_from_its_step": "resume_from_checkpoint",
        "test_auto_resume_takes_the_last_checkpoint": "auto_resume_from_checkpoints",
    },
    "training/test_run.py": {
        "test_a_broken_loss_ends_the_run": "loss_watchdog_threshold loss_watchdog_patience",
        "test_the_best_checkpoint_is_the_result_if_asked_for": "load_best_model_at_end",
        "test_the_result_and_the_record_lie_in_the_output_folder": "output_dir",
        "test_training_goes_on_from_an_adapter": "lora_model_dir",
        "test_training_stops_early_when_the_held_out_loss_no_longer_falls": "early_stopping_patience",
    },
    "training/optim/test_schedules.py": {
        "test_a_schedule_follows_its_formula": (
            "cosine_constant_lr_ratio lr_quadratic_warmup jagged_restart_steps jagged_restart_warmup_steps "
            "jagged_restart_anneal_steps"
        ),
        "test_one_cycle_is_that_of_torch": "lr_div_factor",
    },
    "training/record/test_trackers.py": {
        "test_comet_gets_the_losses_and_the_config": "comet_project_name",
        "test_keys_become_the_environment_of_a_tracker": (
            "wandb_entity wandb_run_id trackio_space_id swanlab_api_key swanlab_api_host swanlab_web_host "
            "comet_workspace comet_experiment_key comet_mode"
        ),
        "test_mlflow_gets_the_losses_the_config_and_the_end": (
            "mlflow_tracking_uri mlflow_experiment_name mlflow_run_name hf_mlflow_log_artifacts"
        ),
        "test_swanlab_gets_the_losses_the_config_and_its_names": (
            "swanlab_project swanlab_experiment_name swanlab_workspace swanlab_description"
        ),
        "test_tensorboard_gets_the_losses_and_the_config": "use_tensorboard",
        "test_trackio_gets_the_losses_and_the_config": "trackio_project_name trackio_run_name",
        "test_wandb_runs_offline_without_a_key": "wandb_project wandb_name wandb_watch wandb_log_model",
        "test_what_a_tracker_needs_for_its_server": "swanlab_mode comet_api_key comet_online",
        "test_what_switches_a_tracker_on": "use_wandb wandb_mode use_comet use_mlflow use_swanlab use_trackio",
    },
    "training/test_what_trains.py": {
        "test_a_restart_thins_the_optimizer_state": "relora_prune_method relora_prune_ratio",
        "test_lisa_trains_some_blocks_at_a_time": "lisa_n_layers lisa_step_interval",
        "test_only_unfrozen_parameters_move": "unfrozen_parameters",
        "test_relora_ends_with_one_adapter_of_all_its_ranks": "relora",
    },
}
"""File -> name of the test -> keys whose effect it shows."""

SHOWN_BY: dict[str, str] = {
    key: f"tests/{file}::{name}"
    for file, tests in TESTS.items()
    for name, keys in tests.items()
    for key in keys.split()
}
"""Key -> its test."""
