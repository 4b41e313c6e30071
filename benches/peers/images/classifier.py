"""Trains the classifier of frechet.py on MNIST's training images: one thread, about a minute.

    python classifier.py

Adam, batches of 100 in shuffled epochs, the rate falling from 2e-3 to 0 by a cosine, seed 0. The unit of a Fréchet
distance is that of the features, which means nothing; so they are multiplied by the number with which 500 training
images, 50 a digit, have the distance 20 to the test images (the mean of 20 draws). Writes the weights and that number to
classifier.pt in the folder of the Python environment, or to the file that CLASSIFIER names.
"""
import time

import torch
from torch import nn

from mnist import CLASSIFIER, FLOOR, Classifier, judge, mnist, real

EPOCHS, BATCH, RATE = 3, 100, 2e-3

torch.set_num_threads(1)
torch.manual_seed(0)
x, y = map(torch.from_numpy, mnist("train"))
y = y.long()
net = Classifier()
optimiser = torch.optim.Adam(net.parameters(), RATE)
steps = EPOCHS * len(x) // BATCH
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
test_x, test_y = mnist("test")
begin = time.time()
for epoch in range(EPOCHS):
    for rows in torch.randperm(len(x)).split(BATCH):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimiser.step()
        schedule.step()
    right = (judge(net, test_x)[1] == test_y).mean()
    print(f"epoch {epoch + 1}: {100 * right:.2f} % of the test images, {time.time() - begin:.0f} s", flush=True)
before = real(net)[0].mean()
net.scale.fill_((FLOOR / before) ** 0.5)
print(f"the distance of training images to test images: {before:.3f}; features times {net.scale:.4f}")
torch.save(net.state_dict(), CLASSIFIER)
print("wrote", CLASSIFIER)
