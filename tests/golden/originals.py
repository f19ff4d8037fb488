#!/usr/bin/env python3
"""What the original programs compute from numbers that hashed.py makes, in double precision where they can.

usage: python3 originals.py > originals.json        (packages: ../parity/requirements.txt)
"""
import json, math, sys
import numpy as np
import torch
import torch.nn.functional as F
import diffusers, pytorch_fid, torch_fidelity, torchvision, scipy
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from hashed import like, uniform

torch.set_default_dtype(torch.float64)
out = {"versions": {m.__name__: m.__version__ for m in [torch, torchvision, diffusers, torch_fidelity, scipy, np]}}
out["versions"]["pytorch_fid"] = pytorch_fid.__version__
out["versions"]["python"] = sys.version.split()[0]


def fill(named, scale_of):
    """Sets every tensor by its name, rounded to single precision as files hold it."""
    for name, tensor in named:
        centre, scale = scale_of(name, tensor)
        numbers = (centre + scale * like(name, tuple(tensor.shape))).astype(np.float32)
        with torch.no_grad():
            tensor.copy_(torch.tensor(numbers.astype(np.float64)))


# The U-Net, forward and gradients -------------------------------------------------------------------------------------------------

def unet():
    m = UNet2DModel(
        sample_size=16, in_channels=3, out_channels=6, freq_shift=1, flip_sin_to_cos=False, downsample_padding=0, norm_eps=1e-6,
        attention_head_dim=None, norm_num_groups=4, block_out_channels=(8, 16, 16), layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    ).double()
    scale = lambda n, t: (1.0, 0.3) if "norm" in n and n.endswith("weight") else (0.0, 0.2 if t.dim() == 1 else (6.0 / t[0].numel()) ** 0.5)
    fill(m.state_dict().items(), scale)
    x = torch.tensor(like("x", (2, 16, 16, 3)).astype(np.float32).astype(np.float64)).permute(0, 3, 1, 2)
    t = torch.tensor([1, 777])
    # Their time embedding is in single precision: ours is compared with that within its digits.
    y = m(x, t - 1).sample.permute(0, 2, 3, 1)
    weights = torch.tensor(like("dy", (2, 16, 16, 6)).astype(np.float32).astype(np.float64))
    (y * weights).sum().backward()
    gradients = {}
    for name, p in m.named_parameters():
        probe = torch.tensor(like("probe." + name, tuple(p.shape)))
        gradients[name] = [p.grad.norm().item(), (p.grad * probe).sum().item()]
    return {"t": t.tolist(), "output": y.flatten().tolist(), "gradients": gradients, "config": {k: v for k, v in m.config.items()}}


# Steps of the samplers -----------------------------------------------------------------------------------------------------------

def steps():
    n = 16
    found = []
    for kind, variance, eta in [("ddpm", "fixed_small", None), ("ddpm", "fixed_large", None), ("ddim", None, 0.0), ("ddim", None, 0.7)]:
        for prediction in ["epsilon", "v_prediction", "sample"]:
            for t in [1, 2, 500, 1000]:
                name = f"{kind}.{variance}.{eta}.{prediction}.{t}"
                x, y, z = (torch.tensor(uniform(f"{name}.{part}", n))[None] for part in ["xt", "output", "z"])
                if kind == "ddpm":
                    s = DDPMScheduler(beta_schedule="linear", variance_type=variance, prediction_type=prediction, clip_sample=True)
                    noise = "diffusers.schedulers.scheduling_ddpm"
                else:
                    s = DDIMScheduler(beta_schedule="linear", prediction_type=prediction, clip_sample=True, set_alpha_to_one=True)
                    noise = "diffusers.schedulers.scheduling_ddim"
                s.set_timesteps(1000)
                # Their tables in double precision: the steps are compared, not the rounding of the tables.
                s.betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
                s.alphas = 1.0 - s.betas
                s.alphas_cumprod = torch.cumprod(s.alphas, 0)
                s.one = s.final_alpha_cumprod = torch.tensor(1.0)
                module = sys.modules[noise]
                keep, module.randn_tensor = module.randn_tensor, lambda *a, **k: z
                more = {} if eta is None else {"eta": eta, "use_clipped_model_output": True}
                next_x = s.step(y, t - 1, x, **more).prev_sample
                module.randn_tensor = keep
                found.append({"name": name, "kind": kind, "variance": variance, "eta": eta, "prediction": prediction, "t": t, "next": next_x[0].tolist()})
    return found


# Likelihood ----------------------------------------------------------------------------------------------------------------------

def likelihood():
    N = torch.distributions.Normal
    m1, m2 = 2 * uniform("m1", 32), 2 * uniform("m2", 32)
    v1, v2 = -3 + 3 * uniform("lv1", 32), -3 + 3 * uniform("lv2", 32)
    t = lambda a: torch.tensor(a)
    kl = torch.distributions.kl_divergence(N(t(m1), t(np.exp(v1 / 2))), N(t(m2), t(np.exp(v2 / 2))))
    level = np.round((uniform("level", 32) + 1) * 127.5)
    level[:2] = [0, 255]
    mean, log_sigma = level / 127.5 - 1 + 0.05 * uniform("mean", 32), -3 + uniform("ls", 32)
    exact, tanh = [], []
    for k, m, s in zip(level, mean, np.exp(log_sigma)):
        x = k / 127.5 - 1
        low, high = (x - m - 1 / 255) / s, (x - m + 1 / 255) / s
        # The normal distribution function by scipy, in the tail where it keeps digits.
        phi = scipy.special.ndtr
        p = phi(high) if k == 0 else phi(-low) if k == 255 else (phi(high) - phi(low) if high < 0 else phi(-low) - phi(-high))
        exact.append(math.log(p))
        cdf = lambda u: 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
        q = cdf(high) if k == 0 else 1 - cdf(low) if k == 255 else cdf(high) - cdf(low)
        tanh.append(math.log(max(q, 1e-12)))
    return {"kl": kl.tolist(), "level": level.tolist(), "erf": exact, "tanh": tanh}


# Scores of fixed features --------------------------------------------------------------------------------------------------------

def scores():
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kernel_mmd
    from torch_fidelity.metric_prc import calculate_precision_recall_full
    n, d, classes = 120, 6, 5
    mix = like("mix", (d, d))
    a = (like("a", (n, d)) @ mix).astype(np.float32)
    b = (like("b", (n, d)) @ mix * 1.2 + 0.1).astype(np.float32)
    wide = lambda f: f.astype(np.float64)
    stats = lambda f: (wide(f).mean(0), np.cov(wide(f), rowvar=False))
    fid = calculate_frechet_distance(*stats(a), *stats(b))
    logits = torch.tensor((3 * like("logits", (n, classes))).astype(np.float32))
    isc = isc_features_to_metric(logits, splits=7, shuffle=False)
    kid = kernel_mmd(wide(a), wide(b), kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1)
    precision, recall = calculate_precision_recall_full(torch.tensor(wide(a)), torch.tensor(wide(b)), 3)
    return {
        "fid": float(fid), "is": [isc["inception_score_mean"], isc["inception_score_std"]], "kid": float(kid),
        "precision": precision, "recall": recall,
    }


# Resizing, pixel by pixel --------------------------------------------------------------------------------------------------------

def resizes():
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
    found = []
    for h, w, side in [(32, 32, 299), (5, 7, 13), (40, 31, 29)]:
        image = np.round((like(f"image.{h}.{w}", (h, w, 3)) + 1) * 127.5)
        x = torch.tensor(image).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            tf = (interpolate_bilinear_2d_like_tensorflow1x(x, size=(side, side), align_corners=False) - 128) / 128
            pt = 2 * F.interpolate(x / 255, size=(side, side), mode="bilinear", align_corners=False) - 1
        # Every 37th number of the large one.
        some = lambda y: y[0].permute(1, 2, 0).flatten()[:: 37 if side > 100 else 1].tolist()
        found.append({"h": h, "w": w, "side": side, "stride": 37 if side > 100 else 1, "tensorflow1": some(tf), "pytorch": some(pt)})
    return found


# Inception on hashed weights -----------------------------------------------------------------------------------------------------

def inception():
    import pytorch_fid.inception as source
    source.load_state_dict_from_url = lambda *a, **k: None
    keep, torch.nn.Module.load_state_dict = torch.nn.Module.load_state_dict, lambda self, *a, **k: None
    m = source.fid_inception_v3().double().eval()
    torch.nn.Module.load_state_dict = keep

    def scale(name, t):
        if name.endswith("conv.weight"):
            return 0.0, (6.0 / t[0].numel()) ** 0.5
        if name.endswith(("bn.weight", "running_var")):
            return 1.0, 0.5
        return 0.0, 0.1

    fill([(n, t) for n, t in m.state_dict().items() if not n.endswith("num_batches_tracked")], scale)
    image = np.round((like("inception.image", (32, 32, 3)) + 1) * 127.5)
    x = torch.tensor(image).permute(2, 0, 1)[None]
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
    with torch.no_grad():
        prepared = {
            "tensorflow1": (interpolate_bilinear_2d_like_tensorflow1x(x.float(), size=(299, 299), align_corners=False).double() - 128) / 128,
            "pytorch": 2 * F.interpolate(x.float() / 255, size=(299, 299), mode="bilinear", align_corners=False).double() - 1,
        }
        found = {}
        for name, y in prepared.items():
            for block in [
                "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "max", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "max", "Mixed_5b", "Mixed_5c", "Mixed_5d",
                "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c",
            ]:
                y = F.max_pool2d(y, 3, 2) if block == "max" else getattr(m, block)(y)
            features = y.mean((2, 3))
            logits = features @ m.fc.weight.T
            found[name] = {"features": features[0][::4].tolist(), "logits": logits[0][::9].tolist()}
    return found


out["unet"] = unet()
out["steps"] = steps()
out["likelihood"] = likelihood()
out["scores"] = scores()
out["resize"] = resizes()
out["inception"] = inception()
json.dump(out, sys.stdout)
