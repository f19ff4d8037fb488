#!/usr/bin/env python3
"""This program beside the originals on weights and inputs that are drawn anew: U-Net, samplers, exchange, Inception, scores.

usage: just parity python3 [seed]        (makes its own environment; a seed repeats a run)
Prints each comparison with its limit; ends with 1 where one is over it.
"""
import json, os, random, subprocess, sys, tempfile, time
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

ddpm = os.path.abspath(sys.argv[1])
seed = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2] else random.randrange(1 << 30)
torch.manual_seed(seed)
rng = np.random.default_rng(seed)
failed = 0
print(f"seed {seed}")


def run(*arguments):
    done = subprocess.run([ddpm, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"ddpm {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def compare(what, found, limit):
    global failed
    failed += not found <= limit
    print(f"{'ok  ' if found <= limit else 'OVER'} {what:<58} {found:.2e} (limit {limit:.0e})")


def off(a, b):
    a, b = a.double(), b.double()
    return ((a - b).norm() / b.norm()).item()


def unet(folder):
    m = UNet2DModel(
        sample_size=32, in_channels=3, out_channels=3, freq_shift=1, flip_sin_to_cos=False, downsample_padding=0, norm_eps=1e-6,
        attention_head_dim=None, norm_num_groups=32, block_out_channels=(128, 256, 256, 256), layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    ).eval()
    for p in m.parameters():
        p.data += 0.02 * torch.randn_like(p)
    m.save_pretrained(f"{folder}/theirs")
    DDPMScheduler(variance_type="fixed_large").save_pretrained(f"{folder}/theirs")
    ours = f"{folder}/ours.safetensors"
    run("import", "diffusers", f"{folder}/theirs", "-o", ours)
    run("export", "diffusers", ours, f"{folder}/back")
    a, b = (load_file(f"{folder}/{d}/diffusion_pytorch_model.safetensors") for d in ["theirs", "back"])
    compare("exchange: tensors that do not come back bit for bit", sum(not torch.equal(a[k], b[k]) for k in a) + (a.keys() != b.keys()), 0)
    UNet2DModel.from_pretrained(f"{folder}/back", low_cpu_mem_usage=False)
    x, t = torch.randn(3, 32, 32, 3), torch.randint(1, 1001, (3,))
    save_file({"x": x, "t": t}, f"{folder}/in.safetensors")
    run("eval", "forward", "--checkpoint", ours, "--input", f"{folder}/in.safetensors", "-o", f"{folder}/out.safetensors")
    found = load_file(f"{folder}/out.safetensors")["output"]
    with torch.no_grad():
        y = m(x.permute(0, 3, 1, 2), t - 1).sample.permute(0, 2, 3, 1)
        # A walk of 12 steps beside the scheduler's, from the same noise.
        steps = 12
        s = DDPMScheduler(variance_type="fixed_large", num_train_timesteps=steps, beta_start=0.0083, beta_end=0.3)
        x_t, z = torch.randn(2, 32, 32, 3), torch.randn(steps, 2, 32, 32, 3)
        save_file({"x_T": x_t, "z": z}, f"{folder}/noise.safetensors")
        import diffusers.schedulers.scheduling_ddpm as scheduling
        now = x_t.permute(0, 3, 1, 2)
        for place, step in enumerate(range(steps - 1, -1, -1)):
            scheduling.randn_tensor = lambda *a, **k: z[place].permute(0, 3, 1, 2)
            now = s.step(m(now, step).sample, step, now).prev_sample
    compare("U-Net of 35.7M parameters, forward, f32 against f32", off(found, y), 1e-4)
    schedule = "diffusion.schedule={kind: linear, beta_start: 0.0083, beta_end: 0.3}"
    run("sample", ours, "--set", f"timesteps={steps}", "--set", schedule, "--noise", f"{folder}/noise.safetensors",
        "--dump", f"{folder}/walk.safetensors", "-o", f"{folder}/walk.png")
    compare("12 steps of DDPMScheduler from given noise", off(load_file(f"{folder}/walk.safetensors")["samples"], now.permute(0, 2, 3, 1)), 1e-4)


def inception(folder):
    import pytorch_fid.inception as source
    source.load_state_dict_from_url = lambda *a, **k: None
    keep, torch.nn.Module.load_state_dict = torch.nn.Module.load_state_dict, lambda self, *a, **k: None
    m = source.fid_inception_v3().eval()
    torch.nn.Module.load_state_dict = keep
    for name, t in m.state_dict().items():
        if name.endswith("conv.weight"):
            t.normal_(0, (2 / t[0].numel()) ** 0.5)
        elif name.endswith(("bn.weight", "running_var")):
            t.uniform_(0.5, 1.5)
        elif not name.endswith("num_batches_tracked"):
            t.normal_(0, 0.1)
    torch.save(m.state_dict(), f"{folder}/inception.pth")
    sets = {}
    for name in "ab":
        os.makedirs(f"{folder}/{name}")
        small = rng.integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
        images = np.stack([np.asarray(Image.fromarray(i).resize((32, 32), Image.BICUBIC)) for i in small])
        for i, image in enumerate(images):
            Image.fromarray(image).save(f"{folder}/{name}/{i:04d}.png")
        sets[name] = torch.tensor(images).permute(0, 3, 1, 2).contiguous()
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as tf1
    prepare = {
        "tensorflow1": lambda x: (tf1(x.float(), size=(299, 299), align_corners=False) - 128) / 128,
        "pytorch": lambda x: 2 * F.interpolate(x.float() / 255, size=(299, 299), mode="bilinear", align_corners=False) - 1,
    }
    blocks = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "max", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "max", "Mixed_5b", "Mixed_5c",
              "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c"]

    def see(y):
        for block in blocks:
            y = F.max_pool2d(y, 3, 2) if block == "max" else getattr(m, block)(y)
        return y.mean((2, 3))

    m = m.double()
    for resize in prepare:
        run("fid", f"{folder}/a", f"{folder}/b", "--weights", f"{folder}/inception.pth", "--resize", resize, "--save", f"{folder}/{resize}.safetensors")
        with torch.no_grad():
            expected = see(prepare[resize](sets["a"]).double())
        compare(f"Inception features, {resize}, f32 against f64", off(load_file(f"{folder}/{resize}.safetensors")["features"], expected), 1e-6)


def scores(folder):
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torch_fidelity.metric_prc import calculate_precision_recall_full
    n, d = 3000, 64
    mix = rng.normal(size=(d, d))
    a, b = ((rng.normal(size=(n, d)) @ mix * s + m).astype(np.float32) for s, m in [(1.0, 0.0), (1.1, 0.2)])
    for name, f in [("a", a), ("b", b)]:
        save_file({"features": torch.tensor(f)}, f"{folder}/{name}.safetensors")
    stats = lambda f: (f.astype(np.float64).mean(0), np.cov(f.astype(np.float64), rowvar=False))
    expected = calculate_frechet_distance(*stats(a), *stats(b))
    files = [f"{folder}/{name}.safetensors" for name in "ab"]
    found = json.loads(run("fid", *files, "--all", "--json", "--save", f"{folder}/ours.npz"))
    compare("FID of 3000 features", abs(found["fid"] / expected - 1), 1e-6)
    precision, recall = calculate_precision_recall_full(torch.tensor(a).double(), torch.tensor(b).double())
    compare("precision", abs(found["scores"]["precision"]["value"] - precision), 1e-6)
    compare("recall", abs(found["scores"]["recall"]["value"] - recall), 1e-6)
    with np.load(f"{folder}/ours.npz") as ours:
        compare("statistics that NumPy reads: mu", np.abs(ours["mu"] - stats(a)[0]).max(), 1e-9)
        compare("statistics that NumPy reads: sigma", np.abs(ours["sigma"] - stats(a)[1]).max(), 1e-9)
    np.savez_compressed(f"{folder}/theirs.npz", mu=stats(b)[0], sigma=stats(b)[1])
    found = json.loads(run("fid", files[0], f"{folder}/theirs.npz", "--json"))
    compare("FID against pytorch-fid's statistics file", abs(found["fid"] / expected - 1), 1e-6)


with tempfile.TemporaryDirectory() as top:
    for part in [unet, inception, scores]:
        folder = f"{top}/{part.__name__}"
        os.makedirs(folder)
        started = time.time()
        part(folder)
        print(f"     {part.__name__}: {time.time() - started:.0f} s")
sys.exit(bool(failed))
