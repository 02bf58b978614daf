import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PackageStore } from '../broker/packages/package-store.ts';
import { PushedPackages } from '../broker/packages/pushed-packages.ts';
import type { Isolation } from '../broker/tenders/process/tender.ts';
import type { TenderProcess } from '../broker/tenders/process/tender-process.ts';
import { buildTask } from '../broker/unikernel/toolchain/build-task.ts';
import { silentLog } from '../shared/base/log.ts';
import { readTaskPackage } from '../shared/task-package/reader.ts';
import { signTaskPackage } from '../shared/task-package/signature.ts';
import { createSigner, loadTrust } from '../shared/task-package/signer.ts';
import { type Measurement, type Row, summarise } from './measure.ts';
import { DockerRun } from './peers/docker-run.ts';
import { measurePeer, type PeerSource } from './peers/peer.ts';
import { qemuMicrovm } from './peers/qemu-microvm.ts';
import { solo5 } from './peers/solo5.ts';
import { callWell, makeTender, native, type Say, TENDER_SUITE as suite } from './tenders.ts';

const examples = fileURLToPath(new URL('../examples/tasks/', import.meta.url));
const input = randomBytes(4096);
const ROUNDS = 50;
const WARMUP = 10;

/**
 * To the first result of 4 KiB. From a blank tender, as a broker has some waiting, and from nothing (no process), as it does
 * when those are used up; both again from a signed package that has never been read: digests, signature, image, tender, call.
 */
export async function* coldStarts(isolation: Isolation, say: Say): AsyncGenerator<Measurement> {
  say(`${isolation}: cold start`);
  const prepared: TenderProcess[] = [];
  const prepare = async () => {
    const blank = makeTender(isolation);
    prepared.push(blank);
    await blank.prepare();
  };
  const fromBlank = await rounds(() => firstResult(isolation, undefined, prepared.pop()), prepare);
  yield summarise(suite, `${isolation}, from a blank tender to first result`, 'ms', fromBlank);
  const plain = await rounds(() => firstResult(isolation));
  yield summarise(suite, `${isolation}, cold start to first result`, 'ms', plain);
  say(`${isolation}: cold start from a signed package`);
  const folder = mkdtempSync(join(tmpdir(), 'kerb-bench-cold-'));
  try {
    const packagesDir = join(folder, 'packages');
    const dir = join(packagesDir, 'echo');
    await buildTask(join(examples, 'echo'), dir);
    const signer = await createSigner(join(folder, 'signer'), 'bench');
    await signTaskPackage(await readTaskPackage(dir), signer);
    const trusted = await loadTrust(join(folder, 'signer/public'));
    const pushed = new PushedPackages(join(folder, 'pushed'));
    let count = 0;
    const verified = async () => {
      const imagesDir = join(folder, `images${count++}`);
      const isolations = [isolation];
      const store = new PackageStore({ packagesDir, pushed, imagesDir, isolations, maxMemory: 2 ** 30, trusted });
      await store.load();
      const [taskPackage] = store.packages;
      if (taskPackage === undefined) throw store.rejected[0]?.error ?? new Error('the package of the bench is gone');
      return await store.imageFile(taskPackage);
    };
    const withBlank = await rounds(async () => {
      const blank = prepared.pop();
      blank?.give(await verified(), silentLog(), isolation);
      return await firstResult(isolation, undefined, blank);
    }, prepare);
    yield summarise(suite, `${isolation}, from signed package and a blank tender to first result`, 'ms', withBlank);
    const samples = await rounds(async () => firstResult(isolation, await verified()));
    yield summarise(suite, `${isolation}, from signed package to first result`, 'ms', samples);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What others need from nothing to a first answer. */
export async function* coldPeers(say: Say): AsyncGenerator<Row> {
  const peers: PeerSource[] = [
    {
      name: 'docker run, warm image, 4 KiB',
      n: 15,
      start: async () => {
        const docker = await DockerRun.start(join(native, 'spawn-echo'));
        return { once: () => docker.call(input), stop: () => docker.stop() };
      },
    },
    { name: 'QEMU microvm (TCG), to first instruction', n: 30, start: () => qemuMicrovm('tcg') },
    { name: 'QEMU microvm (KVM), to first instruction', n: 30, start: () => qemuMicrovm('kvm') },
    { name: 'solo5-hvt, hello', n: 100, start: () => solo5('solo5-hvt') },
    { name: 'solo5-spt, hello', n: 100, start: () => solo5('solo5-spt') },
  ];
  for (const peer of peers) {
    say(`${peer.name}, ${peer.n} times`);
    yield await measurePeer(suite, peer);
  }
}

/** Milliseconds until each tender has given its first result; ending it is not counted. */
async function rounds(firstResult: () => Promise<TenderProcess>, prepare = async () => {}): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < WARMUP + ROUNDS; i++) {
    await prepare();
    const begin = performance.now();
    const tender = await firstResult();
    samples.push(performance.now() - begin);
    await tender.stop();
  }
  return samples.slice(WARMUP);
}

async function firstResult(
  isolation: Isolation,
  imagePath?: string,
  tender = makeTender(isolation, { imagePath }),
): Promise<TenderProcess> {
  try {
    await tender.start();
    await callWell(tender, input);
    return tender;
  } catch (error) {
    await tender.stop();
    throw error;
  }
}
