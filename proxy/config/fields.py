"""The provider-specific settings of a virtual key or of a config object's leaf: one table for both.

In requests each is also a header, `x-portkey-` and the name with dashes.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from proxy.config.checks import Check, Examiner, Path, flag, listing, mapping, text

Kind = Literal["text", "flag", "object", "objects"]
"""What a field holds. `flag` also takes the words true and false, `object` also its JSON as text."""

_TEXTS = (
    "resource_name",
    "deployment_id",
    "api_version",
    "azure_resource_name",
    "azure_deployment_id",
    "azure_api_version",
    "azure_model_name",
    "azure_ad_token",
    "azure_auth_mode",
    "azure_managed_client_id",
    "azure_workload_client_id",
    "azure_entra_client_id",
    "azure_entra_client_secret",
    "azure_entra_tenant_id",
    "azure_entra_scope",
    "azure_endpoint_name",
    "azure_foundry_url",
    "azure_deployment_name",
    "azure_deployment_type",
    "azure_region",
    "azure_extra_parameters",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_region",
    "aws_auth_type",
    "aws_role_arn",
    "aws_external_id",
    "aws_s3_bucket",
    "aws_s3_object_key",
    "aws_bedrock_model",
    "amz_server_side_encryption",
    "amz_server_side_encryption_aws_kms_key_id",
    "amzn_sagemaker_custom_attributes",
    "amzn_sagemaker_target_model",
    "amzn_sagemaker_target_variant",
    "amzn_sagemaker_target_container_hostname",
    "amzn_sagemaker_inference_id",
    "amzn_sagemaker_enable_explanations",
    "amzn_sagemaker_inference_component",
    "amzn_sagemaker_session_id",
    "amzn_sagemaker_model_name",
    "vertex_project_id",
    "vertex_region",
    "vertex_storage_bucket_name",
    "vertex_auth_type",
    "openai_project",
    "openai_organization",
    "openai_beta",
    "anthropic_beta",
    "anthropic_version",
    "workers_ai_account_id",
    "huggingface_base_url",
    "fireworks_account_id",
    "snowflake_account",
    "stability_client_id",
    "stability_client_user_id",
    "stability_client_version",
    "responses_models",
    "oracle_region",
    "oracle_api_version",
    "oracle_compartment_id",
    "oracle_serving_mode",
    "oracle_tenancy",
    "oracle_user",
    "oracle_fingerprint",
    "oracle_private_key",
    "oracle_key_passphrase",
)

PROVIDER_FIELDS: dict[str, Kind] = {
    **dict.fromkeys(_TEXTS, "text"),
    "mistral_fim_completion": "flag",
    "vertex_skip_ptu_cost_attribution": "flag",
    "vertex_service_account_json": "object",
    "deployments": "objects",
}

SECRET_FIELDS = frozenset(
    {
        "azure_ad_token",
        "azure_entra_client_secret",
        "aws_secret_access_key",
        "aws_session_token",
        "vertex_service_account_json",
        "oracle_private_key",
        "oracle_key_passphrase",
    }
)
"""Those that are credentials: never shown, and given by reference (`env:NAME`, `file:PATH`) where that is offered."""


def _object_or_json(x: Examiner, value: Any, path: Path) -> Any:
    if not isinstance(value, str):
        return mapping(x, value, path)
    try:
        decoded = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return x.bad(path, "Expected object, or its JSON as a string")
    return decoded if isinstance(decoded, dict) else x.expected("object", decoded, path)


def _flag_or_word(x: Examiner, value: Any, path: Path) -> Any:
    return value == "true" if value in ("true", "false") else flag(x, value, path)


FIELD_CHECKS: dict[str, Check] = {
    "text": text,
    "flag": _flag_or_word,
    "object": _object_or_json,
    "objects": listing(mapping),
}
