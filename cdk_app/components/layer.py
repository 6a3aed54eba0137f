"""What all functions load."""

from __future__ import annotations

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from cdk_app.assets.bundle import Asset


class Layer(lambda_.LayerVersion):
    """Slicewise's package, for functions of either architecture."""

    def __init__(self, scope: Construct, id: str, *, asset: Asset):
        super().__init__(
            scope,
            id,
            code=lambda_.Code.from_asset(str(asset.folder), asset_hash=asset.hash),
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
            compatible_architectures=[lambda_.Architecture.ARM_64, lambda_.Architecture.X86_64],
            description="Slicewise's package and its dependencies, pure Python",
        )
