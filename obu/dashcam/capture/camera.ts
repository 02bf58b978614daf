export type PictureFormat = 'jpeg' | 'gray8' | 'rgb24';

/** The pictures that one consumer asks for. */
export interface PictureRequest {
  readonly format: PictureFormat;
  /** Pixels; 0 means as the camera delivers. */
  readonly width: number;
  readonly height: number;
  /** Pictures per second at most, above 0. */
  readonly fps: number;
}

export interface Picture {
  readonly camera: string;
  /** Counts up by one per picture of this request; a gap is a loss. */
  readonly sequence: number;
  /** Microseconds since 1970 when the OBU had the whole picture. */
  readonly timeUs: number;
  readonly format: PictureFormat;
  readonly width: number;
  readonly height: number;
  /** JPEG file, or pixels row by row without padding. Never changed after delivery. */
  readonly data: Uint8Array;
}

export type CameraState =
  | { readonly state: 'Idle' } // nobody asks for pictures
  | { readonly state: 'Starting' }
  | { readonly state: 'Running' }
  /** Retried with back-off. `refusedForMs`: it refused the password, and is asked again after this time. */
  | { readonly state: 'Failed'; readonly reason: string; readonly refusedForMs?: number };

export interface CameraStatus {
  readonly name: string;
  readonly source: string;
  readonly simulated: boolean;
  readonly state: CameraState;
  readonly consumers: number;
  /** Pictures per second that came from the camera over the last seconds. */
  readonly fps: number;
  /**
   * Pictures that a conversion or a recording was too slow for; what a slow workload loses is counted at its gateway.
   */
  readonly lost: number;
}

/** One camera with one owner and any number of consumers. */
export interface Camera {
  readonly name: string;
  start(): Promise<void>;
  stop(): Promise<void>;
  /**
   * Pictures as requested, until the returned function is called. Equal requests share their conversion.
   * @throws KerbError BadCameraWish
   */
  subscribe(request: PictureRequest, listener: (picture: Picture) => void): () => void;
  status(): CameraStatus;
}
