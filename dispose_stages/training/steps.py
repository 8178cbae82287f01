"""The steps of a training, each from files of the working folder to files of the working folder."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from dispose_stages.models.clip import build_image_encoder
from dispose_stages.models.dift import DiftNetwork
from dispose_stages.training import networks
from dispose_stages.training import small_configs as configs
from dispose_stages.training.bundle.small import start_bundle
from dispose_stages.training.clip_store import ClipStore
from dispose_stages.training.control import (
    ControlObjective,
    initialise_control_net,
    wake_motion_embedding,
    wake_point_adapter,
)
from dispose_stages.training.control_data import FEATURES, ControlBatches, ControlStore, StackStore
from dispose_stages.training.features import (
    FeatureBatches,
    FeatureObjective,
    initialise_features,
)
from dispose_stages.training.first_stage import FirstStage
from dispose_stages.training.loop import freeze
from dispose_stages.training.pose_store import PoseStore
from dispose_stages.weights.layout import CMP, SD15, SVD
from dispose_stages.weights.loading.cmp import load_cmp
from dispose_stages.weights.loading.diffusion import load_diffusion_networks
from dispose_stages.weights.loading.dift import load_dift
from dispose_stages.weights.loading.svd import load_image_encoder, load_vae
from dispose_stages.weights.verification import find_file

_AWAKE = 16
"""Clips by which the ControlNet's ways in are scaled at first."""


class Training(FirstStage):
    """All steps; each goes on where it was interrupted."""

    def unpack(self) -> None:
        """Take base, VAE, image encoder and CMP from the bundle, to train only what follows."""
        root = self.settings.bundle
        unet, pose_net, _ = load_diffusion_networks(root, dtype=torch.float32)
        networks.save_weights(self._weights("base"), unet=unet, pose_net=pose_net)
        vae = load_vae(root / SVD, dtype=torch.float32, device="cpu")
        networks.save_weights(self._weights("vae"), vae=vae)
        encoder = load_image_encoder(root / SVD, dtype=torch.float32, device="cpu")
        networks.save_weights(self._weights("image_encoder"), image_encoder=encoder)
        cmp = load_cmp(find_file(root, CMP), device="cpu")
        networks.save_weights(self._weights("cmp"), cmp=cmp)

    def features(self) -> None:
        """Train the extractor of diffusion features to tell colours."""
        torch.manual_seed(self.settings.seed)
        dift, steps, size = self.extractor(), self.settings.features, self.settings.control_clips
        initialise_features(dift.unet)
        objective = FeatureObjective(
            dift, timestep=FEATURES.timestep, height=size.height, width=size.width
        )
        batches = FeatureBatches(
            PoseStore(ClipStore(self.control_clips)),
            dift.vae,
            size=steps.batch,
            scaling_factor=dift.scaling_factor,
        )
        networks_ = {"unet": dift.unet, "read_out": objective.read_out}
        self._train("features", steps, self._losses(objective, batches), **networks_)
        networks.save_weights(self._weights("features"), features=dift.unet)

    def extractor(self, features: dict[str, Tensor] | None = None) -> DiftNetwork:
        """The network of diffusion features; random unless a state is given."""
        with TemporaryDirectory() as folder:
            start_bundle(Path(folder), features)
            return load_dift(Path(folder) / SD15, prompt=FEATURES.prompt, device=self.device)

    def guidance(self) -> None:
        """What stage 2 reads: latents, embeddings, motion fields, correspondence features.

        Motion is that of the trained CMP, or of the world itself.
        """
        store = ClipStore(self.control_clips)
        vae, encoder = networks.new_vae().eval(), build_image_encoder(configs.SVD_IMAGE_ENCODER)
        networks.load_weights(self._weights("vae"), vae=vae)
        networks.load_weights(self._weights("image_encoder"), image_encoder=encoder)
        self._encode(store, vae, encoder.eval(), "control_embeddings")
        network = None
        if self.settings.flow == "cmp":
            network = networks.new_cmp()
            networks.load_weights(self._weights("cmp"), cmp=network)
            network.to(self.device).eval()
        states = torch.load(self._weights("features"), weights_only=True)
        dift = self.extractor(states["features"])
        control = self._control_store()
        control.fill(network, dift, clips=store.sizes.count, device=self.device)
        self._stack(control)

    def _stack(self, control: ControlStore) -> None:
        """Wake a motion embedding and run its stacks, which stay as they are."""
        torch.manual_seed(self.settings.seed)
        embedding = networks.new_control_net().controlnet_cond_embedding
        dense, trajectory = zip(*map(control.fields, range(_AWAKE)), strict=True)
        wake_motion_embedding(embedding, torch.cat(dense), torch.cat(trajectory))
        networks.save_weights(self._weights("motion_embedding"), embedding=embedding)
        StackStore(control).fill(embedding.to(self.device), device=self.device)

    def control(self) -> None:
        """Stage 2, and the base's decoder with it.

        DisPose freezes all of its base. This small one cannot paint colours that the coarse levels
        tell it: there, a ControlNet's residuals move nothing until the decoder listens.
        """
        torch.manual_seed(self.settings.seed)
        unet, pose_net = networks.new_base()
        networks.load_weights(self._weights("base"), unet=unet, pose_net=pose_net)
        freeze([unet.to(self.device), pose_net.to(self.device)])
        for decoding in (unet.up_blocks, unet.conv_norm_out, unet.conv_out):
            decoding.requires_grad_(requires_grad=True)
        store = self._control_store()
        clips = self.settings.control.batch
        batches = ControlBatches(
            self.batches(clips, self.control_clips, "control_embeddings", store.ready),
            store,
            StackStore(store),
        )
        control_net = networks.new_control_net()
        initialise_control_net(control_net, unet)
        embedding = control_net.controlnet_cond_embedding
        networks.load_weights(self._weights("motion_embedding"), embedding=embedding)
        freeze([embedding])
        features = torch.from_numpy(store.features[:_AWAKE].copy())
        wake_point_adapter(control_net.point_adapter, features)
        embedding.conv_final.requires_grad_(requires_grad=True)
        unet.gradient_checkpointing = self.settings.control.checkpointing
        control_net.gradient_checkpointing = self.settings.control.checkpointing
        objective = ControlObjective(
            control_net,
            unet,
            pose_net,
            scaling_factor=networks.SCALING_FACTOR,
            levels=self.settings.levels,
            left_out=self.settings.left_out,
        )
        losses = self._losses(objective, batches)
        self._train("control", self.settings.control, losses, control_net=control_net, unet=unet)
        networks.save_weights(self._weights("control"), control_net=control_net, unet=unet)

    def _control_store(self) -> ControlStore:
        poses = PoseStore(ClipStore(self.control_clips))
        return ControlStore(poses, configs.POINT_CHANNELS)
