"""By the ids of docs/security-model.md, the tests that hold what it says.

A test is named as pytest does; a file or a folder stands for all that is in it.
"""

PROMISES: dict[str, tuple[str, ...]] = {
    "decided-first": (
        "tests/test_session.py::test_denied_job",
        "tests/test_run.py::test_denied_job",
        "tests/grants/test_decide.py",
    ),
    "on-record": (
        "tests/test_session.py::test_intent_is_on_record_before_the_server_is_asked",
        "tests/test_session.py::test_no_ledger_no_credential",
        "tests/test_session.py::test_full_disk_no_credential",
        "tests/exchangers/vault/test_login.py::test_handles_come_before_what_follows",
        "tests/faults/test_machine.py::test_a_disk_that_is_full_after_some_entries",
    ),
    "narrower": (
        "tests/exchangers/vault/test_exchange.py::test_child_has_exactly_the_policies_of_the_grant",
        "tests/exchangers/vault/test_exchange.py::test_a_server_that_does_not_narrow_is_not_believed",
        "tests/exchangers/vault/test_exchange.py::test_policies_of_the_identity_are_not_handed_out",
    ),
    "ended": (
        "tests/test_session.py::test_failed_body_is_cleaned_up_and_not_hidden",
        "tests/test_run.py::test_exit_code_is_the_commands",
        "tests/test_run_signals.py::test_signal_kills_the_step",
        "tests/test_run_signals.py::test_signal_during_the_exchange",
    ),
    "true-end": (
        "tests/exchangers/vault/test_faults.py::test_page_is_no_confirmation",
        "tests/exchangers/vault/test_leases.py::test_an_answer_of_something_else_confirms_nothing",
        "tests/exchangers/vault/test_login.py::test_batch_tokens",
        "tests/test_run.py::test_failed_revocation",
    ),
    "inherits-nothing": (
        "tests/delivery/test_environ.py",
        "tests/test_run.py::test_ways_to_other_credentials_are_gone",
    ),
    "nowhere-else": (
        "tests/test_leaks.py",
        "tests/test_secret.py",
        "tests/test_aws_step.py::test_no_secret_in_any_exec_or_file",
    ),
    "no-stray": (
        "tests/test_run_signals.py::test_daemon_is_ended",
        "tests/test_run_signals.py::test_stubborn_daemon_is_killed",
        "tests/faults/test_machine.py::test_no_proc_and_a_stray",
    ),
    "own-tree": (
        "tests/delivery/test_endpoint.py",
        "tests/delivery/test_peer.py",
        "tests/test_aws_step.py::test_other_process_with_the_bearer_is_refused",
        "tests/faults/test_aws.py::test_no_proc",
    ),
    "endpoint-ends": ("tests/delivery/test_endpoint.py::test_close",),
    "renewed-the-same": (
        "tests/test_session_aws.py::test_renewal_is_for_the_same_job_only",
        "tests/test_session_aws.py::test_nothing_is_renewed_without_a_ledger",
        "tests/faults/test_aws.py::test_a_renewal_that_fails_for_good",
    ),
    "no-token-of-the-job": (
        "tests/gcp/test_step.py::test_no_token_of_the_job_reaches_the_step",
        "tests/azure/test_step.py::test_every_login_of_the_job_is_hidden",
    ),
    "kubernetes": ("tests/kubernetes", "tests/exchangers/kubernetes"),
    "agent-steps": (
        "tests/agent/test_agent.py::test_another_step_is_refused_and_named",
        "tests/agent/test_agent.py::test_the_agent_follows_the_runner",
        "tests/agent/test_agent.py::test_stop_revokes_reports_and_cleans_up",
        "tests/actions/test_credentials.py::test_steps_that_are_not_named",
    ),
    "masked-there": ("tests/redaction/test_mask.py",),
    "one-way-out": (
        "tests/test_http.py::test_address_that_no_token_is_sent_to",
        "tests/test_http.py::test_redirects_are_refused",
        "tests/test_http.py::test_netrc_is_ignored",
    ),
    "whatever-fails": (
        "tests/faults/test_servers.py",
        "tests/faults/test_aws.py",
        "tests/faults/test_machine.py",
        "tests/faults/test_agent.py",
        "tests/exchangers/vault/test_faults.py",
    ),
    "bad-input": ("tests/fuzz", "tests/grants/test_malformed.py", "tests/grants/test_load.py"),
}

ATTACKS: dict[str, tuple[str, ...]] = {
    "sibling": (
        "tests/attacks/test_processes.py::test_a_sibling_gets_nothing_of_exec",
        "tests/attacks/test_processes.py::test_a_sibling_gets_what_the_step_has",
        "tests/delivery/test_endpoint.py::test_another_process_of_the_same_user",
        "tests/delivery/test_endpoint.py::test_connection_that_is_handed_on",
    ),
    "left-behind": (
        "tests/agent/test_agent.py::test_what_an_earlier_step_left_behind_is_refused",
        "tests/actions/test_credentials.py::test_what_an_earlier_step_left_behind",
        "tests/delivery/test_steps.py::test_a_process_that_lost_its_parents",
    ),
    "later-step": (
        "tests/attacks/test_plants.py::test_a_later_step_finds_nothing",
        "tests/gcp/test_step.py::test_the_file_is_gone_afterwards",
    ),
    "other-user": (
        "tests/attacks/test_processes.py::test_another_user_gets_nothing",
        "tests/attacks/test_processes.py::test_the_state_folder_is_closed_to_others",
        "tests/delivery/test_endpoint.py::test_another_user",
    ),
    "port": (
        "tests/delivery/test_endpoint.py::test_wrong_bearer",
        "tests/delivery/test_endpoint.py::test_strangers_that_stay_keep_nobody_out",
        "tests/delivery/test_endpoint.py::test_garbled",
    ),
    "rebinding": (
        "tests/delivery/test_endpoint.py::test_wrong_host",
        "tests/delivery/test_endpoint.py::test_browser",
    ),
    "links": (
        "tests/attacks/test_plants.py::test_a_planted_state_folder",
        "tests/attacks/test_plants.py::test_a_planted_default_folder",
        "tests/attacks/test_plants.py::test_a_planted_ledger",
        "tests/attacks/test_plants.py::test_a_pipe_that_a_variable_names",
        "tests/attacks/test_plants.py::test_a_pipe_in_the_place_of_a_runners_file",
        "tests/delivery/test_environ.py::test_private_folder_is_made_fresh",
        "tests/delivery/test_handover.py::test_a_file_is_not_written_through_a_link",
        "tests/ledger/test_writer.py::test_hard_link_is_refused",
        "tests/cli/test_agent.py::test_a_folder_that_is_there_is_nobodys_to_take",
    ),
    "path": (
        "tests/attacks/test_plants.py::test_a_hostile_path",
        "tests/attacks/test_plants.py::test_modules_in_the_working_folder",
    ),
    "poisoned": (
        "tests/actions/test_poisoned.py",
        "tests/attacks/test_plants.py::test_an_agent_that_was_planted",
        "tests/test_session.py::test_steering_is_said_before_anything_is_sent",
    ),
    "token-endpoint": (
        "tests/attacks/test_plants.py::test_a_token_endpoint_that_sends_us_elsewhere",
        "tests/attacks/test_plants.py::test_a_token_endpoint_that_gives_anothers_token",
    ),
    "netrc": ("tests/attacks/test_plants.py::test_a_netrc_for_the_providers_host",),
    "address": (
        "tests/attacks/test_plants.py::test_a_grants_file_that_names_such_an_address",
        "tests/attacks/test_plants.py::test_an_environment_that_names_such_an_address",
    ),
    "injection": (
        "tests/attacks/test_injection.py",
        "tests/agent/test_runner_files.py",
        "tests/agent/test_report.py::test_what_others_wrote_stays_text",
    ),
    "answers": ("tests/faults/test_http.py", "tests/faults/test_servers.py"),
}
