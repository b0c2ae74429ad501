"""Every test of Flask-Limiter 4.1.1's suite by name: our test of that behaviour, or why not."""

ROUTES = "test_route_limits"
DEFAULTS = "test_default_limits"
BLUEPRINTS = "test_blueprint_limits"
HELPERS = "test_helpers"
META = "test_meta_limits"
RESPONSES = "test_responses"
SETTINGS = "test_settings"
AWAY = "test_store_away"
BAD = "test_bad_input"
CLI = "test_cli"

#: Not kept, and written down in docs/howto/migrating.md.
NOT_KEPT = {
    "storage": "Memcached and MongoDB are no stores of this package",
    "extension": "flask-restful and flask-restx are Flask extensions; MethodView is tested",
}

CHECKLIST = {
    "test_blueprints": {
        "test_blueprint": (
            BLUEPRINTS, "test_views_of_a_blueprint_fall_under_the_defaults_or_their_own_limits"),
        "test_blueprint_static_exempt": (BLUEPRINTS, "test_static_files_are_not_limited"),
        "test_blueprint_limit_with_route_limits": (
            BLUEPRINTS, "test_a_blueprints_limit_replaces_the_defaults_and_counts_by_endpoint"),
        "test_nested_blueprint_exemption_explicit": (
            BLUEPRINTS, "test_an_exemption_passes_down_by_its_flag"),
        "test_nested_blueprint_exemption_legacy": (
            BLUEPRINTS, "test_an_exemption_passes_down_by_its_flag"),
        "test_nested_blueprint_exemption_nested": (
            BLUEPRINTS, "test_an_exemption_passes_down_by_its_flag"),
        "test_nested_blueprint_exemption_ridiculous": (
            BLUEPRINTS, "test_exemptions_and_limits_of_a_deep_tree"),
        "test_nested_blueprint_exemption_child_only": (
            BLUEPRINTS, "test_an_exemption_passes_down_by_its_flag"),
        "test_nested_blueprint_child_explicit_limit": (
            BLUEPRINTS, "test_a_childs_limit_replaces_the_defaults_for_it_alone"),
        "test_nested_blueprint_child_explicit_nested_limits": (
            BLUEPRINTS, "test_override_defaults_decides_whether_outer_blueprints_limits_hold"),
        "test_register_blueprint": (
            BLUEPRINTS, "test_a_blueprint_may_be_limited_or_exempted_after_it_is_registered"),
        # Not kept: it is an error when the limit is declared.
        "test_invalid_decorated_static_limit_blueprint": (
            BAD, "test_a_malformed_static_limit_names_its_blueprint"),
        # Logged once, not for each request.
        "test_invalid_decorated_dynamic_limits_blueprint": (
            BAD, "test_a_malformed_dynamic_limit_is_logged_once_and_the_defaults_apply"),
    },
    "test_commands": {
        "test_no_limiter": (CLI, "test_an_app_without_a_limiter_is_an_error"),
        "test_config": (CLI, "test_config_shows_settings_beside_their_variables"),
        "test_no_config": (CLI, "test_config_of_a_limiter_without_settings"),
        "test_limits": (CLI, "test_limits_shows_each_route_with_its_limits"),
        "test_limits_filter_endpoint": (CLI, "test_limits_may_show_one_endpoint"),
        "test_limits_filter_path": (CLI, "test_what_is_not_there_is_an_error"),
        "test_limits_with_test": (
            CLI, "test_limits_tries_a_key_in_the_very_counter_of_its_requests"),
        "test_limits_with_test_storage_down": (
            CLI, "test_a_store_that_is_away_is_said_and_an_error"),
        "test_clear_limits_no_extension": (CLI, "test_an_app_without_a_limiter_is_an_error"),
        "test_clear_limits": (CLI, "test_clear_forgets_a_keys_counts_and_no_others"),
    },
    "test_configuration": {
        "test_invalid_strategy": (
            SETTINGS, "test_a_setting_that_can_never_work_is_named_when_the_app_is_built"),
        "test_invalid_storage_string": (
            SETTINGS, "test_a_setting_that_can_never_work_is_named_when_the_app_is_built"),
        "test_constructor_arguments_over_config": (
            SETTINGS, "test_the_constructor_wins_over_the_config_and_the_config_over_the_default"),
        "test_header_names_config": (RESPONSES, "test_headers_may_have_other_names"),
        "test_header_names_constructor": (RESPONSES, "test_headers_may_have_other_names"),
        "test_invalid_config_with_disabled": (
            SETTINGS, "test_a_disabled_limiter_reads_nothing_else"),
        "test_uninitialized_limiter": (
            SETTINGS, "test_a_limiter_bound_to_no_app_limits_nothing_and_says_so"),
    },
    "test_context_manager": {
        "test_static_limit": (HELPERS, "test_a_block_of_code_is_limited"),
        "test_dynamic_limits": (HELPERS, "test_a_blocks_limit_may_be_a_function"),
        "test_scoped_context_manager": (HELPERS, "test_a_blocks_scope_may_be_any_value"),
    },
    "test_decorators": {
        "test_multiple_decorators": (ROUTES, "test_stacked_limits_count_for_different_keys"),
        # But a refused request does not use up the application's limit.
        "test_exempt_routes": (
            BLUEPRINTS, "test_an_exempt_view_is_free_of_what_its_flags_say"),
        "test_decorated_limit_with_scope": (
            ROUTES, "test_a_scope_tells_counters_of_one_endpoint_apart"),
        "test_decorated_limit_with_conditional_deduction": (
            RESPONSES, "test_each_limit_decides_by_itself_what_it_charges"),
        "test_shared_limit_with_conditional_deduction": (
            RESPONSES, "test_a_shared_limit_on_view_and_blueprint_may_be_decided_by_the_response"),
        "test_header_ordering_with_conditional_deductions": (
            RESPONSES, "test_headers_tell_what_remains_after_the_response_decided"),
        "test_decorated_limits_with_combined_defaults": (
            DEFAULTS, "test_a_limit_that_does_not_override_adds_to_the_defaults"),
        "test_decorated_limit_with_combined_defaults_per_method": (
            DEFAULTS, "test_the_defaults_may_count_by_method_beside_a_views_limit"),
        "test_decorated_dynamic_limits": (ROUTES, "test_the_limit_itself_may_be_a_function"),
        # Logged once, not for each request.
        "test_invalid_decorated_dynamic_limits": (
            BAD, "test_a_malformed_dynamic_limit_is_logged_once_and_the_defaults_apply"),
        "test_decorated_limit_empty_exempt": (
            ROUTES, "test_a_function_that_names_no_limit_limits_nothing"),
        # Not kept: it is an error when the limit is declared.
        "test_invalid_decorated_static_limits": (
            BAD, "test_a_malformed_static_limit_names_its_function_and_its_text"),
        "test_decorated_limit_with_meta_limit": (META, "test_a_views_limit_may_have_its_own"),
        "test_manually_constructed_decorated_limit": (
            ROUTES, "test_a_route_limit_may_be_made_by_hand"),
        "test_named_shared_limit": (
            ROUTES, "test_views_with_one_shared_scope_have_one_counter"),
        "test_dynamic_shared_limit": (
            ROUTES, "test_a_shared_scope_may_be_a_function_of_the_endpoint"),
        "test_conditional_limits": (
            ROUTES, "test_exempt_when_lets_a_request_pass_uncounted"),
        "test_conditional_shared_limits": (
            ROUTES, "test_exempt_when_lets_a_request_pass_uncounted"),
        "test_whitelisting": (ROUTES, "test_a_request_filter_frees_a_request_of_all_limits"),
        "test_separate_method_limits": (ROUTES, "test_per_method_counts_each_method_apart"),
        "test_explicit_method_limits": (
            ROUTES, "test_methods_limit_only_those_and_leave_the_others_to_the_defaults"),
        "test_decorated_limit_immediate": (
            ROUTES, "test_a_decorator_above_the_limit_runs_first"),
        "test_decorated_shared_limit_immediate": (
            ROUTES, "test_a_decorator_above_the_limit_runs_first"),
        "test_async_route": (BLUEPRINTS, "test_an_exempt_view_is_free_of_its_own_limits_too"),
        "test_on_breach_callback_swallow_errors": (
            AWAY, "test_a_callbacks_error_is_swallowed_too"),
        "test_on_breach_callback_custom_response": (
            RESPONSES, "test_a_callbacks_response_is_sent_and_the_limits_own_wins"),
        "test_limit_multiple_cost": (ROUTES, "test_a_request_may_cost_more"),
        "test_limit_multiple_cost_callable": (ROUTES, "test_a_request_may_cost_more"),
        "test_shared_limit_multiple_cost": (ROUTES, "test_a_request_may_cost_more"),
        "test_shared_limit_multiple_cost_callable": (ROUTES, "test_a_request_may_cost_more"),
        "test_non_route_decoration_static_limits_override_defaults": (
            HELPERS, "test_a_helpers_limit_overrides_the_defaults_in_its_request"),
        "test_non_route_decoration_static_limits": (HELPERS, "test_a_helper_is_limited"),
        "test_non_route_decoration_dynamic_limits": (HELPERS, "test_a_helper_is_limited"),
        "test_non_route_decoration_multiple_sequential_limits_per_request": (
            HELPERS, "test_helpers_of_one_view_are_limited_one_after_the_other"),
        "test_inner_function_decoration": (
            HELPERS, "test_functions_defined_in_a_view_are_limited_by_endpoint"),
    },
    "test_error_handling": {
        "test_error_message": (RESPONSES, "test_an_error_handler_is_told_the_limit"),
        "test_custom_error_message": (RESPONSES, "test_a_limit_may_have_its_own_message"),
        "test_swallow_error": (
            AWAY, "test_swallowed_errors_are_logged_and_the_request_passes"),
        "test_swallow_error_conditional_deduction": (
            AWAY, "test_swallowed_errors_are_logged_and_the_request_passes"),
        # Its second half breaks get_window_stats, which headers no longer ask.
        "test_no_swallow_error": (
            AWAY, "test_errors_are_the_apps_unless_they_are_swallowed"),
        "test_no_swallow_error_conditional_deduction": (
            AWAY, "test_errors_are_the_apps_unless_they_are_swallowed"),
        "test_fallback_to_memory_config": (
            SETTINGS, "test_what_happens_while_the_store_is_away_follows_from_the_switches"),
        "test_fallback_to_memory_backoff_check": (
            AWAY, "test_raise_leaves_the_answer_to_the_app"),
        "test_fallback_to_memory_with_global_override": (
            AWAY, "test_the_fallback_limits_replace_the_others_until_the_store_is_back"),
        # But a budget that the store refused is not renewed in memory.
        "test_fallback_to_memory": (
            AWAY, "test_the_same_limits_may_be_counted_in_memory_meanwhile"),
    },
    "test_flask_ext": {
        "test_reset": (AWAY, "test_reset_forgets_all_counts"),
        "test_reset_unsupported": "storage",
        "test_static_exempt": (BLUEPRINTS, "test_static_files_are_not_limited"),
        "test_combined_rate_limits": (
            DEFAULTS, "test_defaults_bind_views_without_limits_of_their_own"),
        "test_defaults_per_method": (DEFAULTS, "test_a_group_may_count_by_method"),
        "test_default_limit_with_exemption": (
            DEFAULTS, "test_the_defaults_may_be_exempted_by_a_function"),
        "test_default_limit_with_variable_cost": (
            DEFAULTS, "test_both_groups_may_cost_what_a_function_says"),
        "test_default_limit_with_conditional_deduction": (
            RESPONSES, "test_only_responses_that_deduct_when_names_are_charged"),
        "test_deduct_when_custom_cost_moving_window": (
            RESPONSES, "test_what_a_moving_window_reserved_is_kept_or_given_back"),
        "test_key_func": (ROUTES, "test_stacked_limits_count_for_different_keys"),
        "test_logging": (SETTINGS, "test_a_breach_is_logged_without_its_client"),
        "test_reuse_logging": (SETTINGS, "test_the_limiters_logger_takes_the_apps_handlers"),
        "test_disabled_flag": (SETTINGS, "test_the_config_wins_for_enabled"),
        "test_multiple_apps": (
            ROUTES, "test_one_limiter_on_two_apps_keeps_each_apps_limits"),
        "test_headers_no_breach": (
            RESPONSES, "test_headers_tell_of_the_shortest_limit_that_is_not_shared"),
        "test_headers_application_limits": (
            RESPONSES, "test_headers_tell_of_the_applications_limit_where_there_is_no_other"),
        "test_headers_breach": (RESPONSES, "test_headers_tell_of_the_limit_that_refused"),
        "test_retry_after": (RESPONSES, "test_a_client_that_waits_as_told_is_allowed"),
        "test_retry_after_exists_seconds": (
            RESPONSES, "test_a_later_retry_after_of_the_view_stands"),
        "test_retry_after_exists_rfc1123": (
            RESPONSES, "test_a_later_retry_after_of_the_view_stands"),
        "test_custom_headers_from_config": (RESPONSES, "test_headers_may_have_other_names"),
        "test_application_shared_limit": (
            DEFAULTS, "test_application_limits_count_all_views_together"),
        "test_application_limit_conditional": (
            DEFAULTS, "test_application_limits_may_depend_on_request_and_response"),
        "test_application_limit_per_method": (
            DEFAULTS, "test_application_limits_may_count_by_method"),
        "test_callable_default_limit": (DEFAULTS, "test_a_default_may_be_a_function"),
        "test_callable_application_limit": (
            DEFAULTS, "test_an_application_limit_may_be_a_function"),
        "test_fail_on_first_breach": (
            RESPONSES, "test_fail_on_first_breach_decides_whether_the_others_are_evaluated"),
        "test_no_fail_on_first_breach": (
            RESPONSES, "test_fail_on_first_breach_decides_whether_the_others_are_evaluated"),
        "test_default_on_breach_callback": (
            RESPONSES, "test_a_callback_hears_of_each_breach"),
        "test_custom_key_prefix": (
            ROUTES, "test_a_key_prefix_keeps_apps_apart_on_one_store"),
        "test_multiple_instances_no_key_prefix": (
            ROUTES, "test_two_limiters_on_one_app_both_hold"),
        "test_independent_instances_by_key_prefix": (
            ROUTES, "test_two_limiters_on_one_app_both_hold"),
        "test_multiple_limiters_default_limits": (
            RESPONSES, "test_two_limiters_write_each_field_once"),
        "test_meta_limits": (META, "test_a_client_that_breached_too_often_gets_nothing"),
        "test_custom_meta_limits": (META, "test_each_has_its_own_key_callback_and_exemption"),
    },
    "test_regressions": {
        "test_redis_request_slower_than_fixed_window": (
            RESPONSES, "test_a_view_slower_than_the_window_is_told_that_it_is_over"),
        "test_redis_request_slower_than_moving_window": (
            RESPONSES, "test_a_view_slower_than_the_window_is_told_that_it_is_over"),
        "test_dynamic_limits": (ROUTES, "test_limits_in_one_text_all_hold"),
        "test_invalid_ratelimit_key": (
            BAD, "test_a_limit_without_a_key_counts_the_address_and_is_logged_once"),
        "test_custom_key_prefix_with_headers": (
            RESPONSES, "test_a_view_sees_the_limits_of_its_request"),
        "test_default_limits_with_per_route_limit": (
            DEFAULTS, "test_application_limits_stay_charged_when_a_views_limit_refuses"),
        # But a refused request does not use up the application's limit.
        "test_application_limits_from_config": (
            DEFAULTS, "test_application_defaults_and_a_views_limit_by_method"),
        "test_endpoint_with_dot_but_not_blueprint": (
            BLUEPRINTS, "test_a_dotted_endpoint_is_no_blueprint"),
    },
    "test_storage": {
        "test_fixed_window": (ROUTES, "test_on_redis_as_in_memory"),
        "test_moving_window": (ROUTES, "test_a_strategy_decides_how_windows_move"),
    },
    "test_views": {
        "test_pluggable_views": (
            ROUTES, "test_class_based_views_are_limited_by_their_decorators"),
        "test_pluggable_method_views": (
            ROUTES, "test_class_based_views_are_limited_by_their_decorators"),
        "test_flask_restful_resource": "extension",
        "test_flask_restx_resource": "extension",
    },
}  # fmt: skip
